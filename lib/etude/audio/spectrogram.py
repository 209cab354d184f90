"""Compute log-mel spectrograms in numpy: Slaney filters, power 2, centred zero-padded frames.

They equal librosa's within 1e-3 dB.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from etude.audio.recipe import Recipe

_AMIN = 1e-10

# The Slaney mel scale: linear up to 1 kHz (200/3 Hz per mel), then logarithmic (a factor of 6.4 in 27 mels).
_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0


def log_mel(samples: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Compute a log-mel spectrogram in dB: 10 log10(max(1e-10, mel power)).

    Args:
        samples: mono at recipe.sample_rate, shape (n,).
        recipe: n_fft, hop_length, n_mels, window and sample_rate are used.

    Returns:
        float32 (n_mels, n_frames).
    """
    margin = recipe.n_fft // 2
    padded = np.zeros(len(samples) + 2 * margin)
    padded[margin : margin + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, recipe.n_fft)[:: recipe.hop_length]
    # Use float64: with float32 a quiet band next to a loud one is off by more than 1e-3 dB.
    spectrum = np.fft.rfft(frames * analysis_window(recipe.window, recipe.n_fft), axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = filterbank(recipe.sample_rate, recipe.n_fft, recipe.n_mels) @ power.T
    return (10.0 * np.log10(np.maximum(_AMIN, mel))).astype(np.float32)


@lru_cache(maxsize=8)
def analysis_window(name: str, n_fft: int) -> NDArray[np.float64]:
    """Return a periodic Hamming or Hann window, float64 (n_fft,)."""
    first = {"hamming": 0.54, "hann": 0.5}[name]
    window = first - (1.0 - first) * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    window.setflags(write=False)
    return window


@lru_cache(maxsize=8)
def filterbank(sample_rate: int, n_fft: int, n_mels: int) -> NDArray[np.float64]:
    """Return triangular filters of unit area from 0 Hz to half the sample rate; float64 (n_mels, 1 + n_fft // 2)."""
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    top = _hz_to_mel(np.array([sample_rate / 2.0]))[0]
    edges = _mel_to_hz(np.linspace(0.0, top, n_mels + 2))
    widths = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    weights.setflags(write=False)
    return weights


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.maximum(hz, _BREAK_HZ)
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_MEL + np.log(above / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))
