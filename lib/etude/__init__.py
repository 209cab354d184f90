"""Etude: from listening logs and audio files to every user's top-N tracks, unheard ones included."""

__version__ = "0.1.0"
