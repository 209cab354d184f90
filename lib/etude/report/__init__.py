"""The HTML report for people: what came in, what was learnt, how good it is, and what it recommends."""
