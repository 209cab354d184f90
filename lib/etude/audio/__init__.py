"""Compute mel spectrograms from audio.

The package has three layers: numpy functions (recipe, headers, decode, spectrogram, features), the process that
isolates them (child, guard), and the Spark stage (files, sources, plan, compute).

This module imports nothing, because the decoding process must load only numpy, soundfile and soxr.
"""
