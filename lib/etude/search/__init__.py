"""Find the exact top n of many candidates by inner product, and merge such lists."""
