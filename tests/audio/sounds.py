"""Generate and write sounds for the tests, and compute librosa's reference results."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def sound(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Generate a changing chord over noise: (n, channels) float32, in which all windows differ."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * hz * time + 3 * np.sin(hz * time / 50)) for hz in (110.0, 377.0, 1234.0, 2900.0)]
    waves = [sum(tone * gain for tone, gain in zip(tones, rng.random(4), strict=True)) for _ in range(channels)]
    noise = rng.standard_normal((len(time), channels)) * np.linspace(0.001, 0.1, len(time))[:, None]
    return (0.15 * np.stack(waves, axis=1) + noise).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int, form: str | None = None, subtype: str | None = None) -> Path:
    """Write a file in blocks of a second, because libsndfile's Ogg encoder crashes on long writes."""
    container, usual = FORMATS[form or path.suffix[1:]]
    shape = {"format": container, "subtype": subtype or usual, "channels": samples.shape[1]}
    with soundfile.SoundFile(os.fsencode(path), "w", samplerate=rate, **shape) as file:
        for start in range(0, len(samples), rate):
            file.write(samples[start : start + rate])
    return path


def librosa_mel(path: Path | str, offset_s: float) -> np.ndarray:
    """Compute the reference: librosa's log-mel of the three seconds from offset_s."""
    import librosa

    samples, _ = librosa.load(path, sr=8000, mono=True, offset=offset_s, duration=3)
    return librosa_mel_of(samples)


def librosa_mel_of(samples: np.ndarray) -> np.ndarray:
    """Compute librosa's log-mel of samples at 8 kHz, in dB."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=samples, sr=8000, n_fft=1024, hop_length=512, n_mels=128, window="hamming", power=2.0, pad_mode="constant"
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
