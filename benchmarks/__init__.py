"""Measure Etude; `make bench` runs each file."""
