"""Compare networks as the paper does: errors of predicted factors, ranking of new tracks, learning rates, ablations."""
