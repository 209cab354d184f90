"""Audio to mel spectrograms.

Plain numpy functions first (recipe, decode, spectrogram, features), then the process that runs them under guard (child,
guard), then the Spark stage over them (files, sources, plan, compute).

Nothing is imported here: the decoding process must load numpy, soundfile and soxr and nothing else.
"""
