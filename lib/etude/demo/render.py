"""Render style as sound: a piece of chords and a melody, by wavetable synthesis in numpy.

Every style variable shapes the whole piece, so any 3 s show all of it. The notes and chords of a crop are random. The
variables, all visible in a mel spectrogram below 4 kHz:

- register: lowest pitch, within three octaves from 65 Hz
- tempo: 50 to 180 beats per minute, with a bass note on each beat
- density: share of half-beats with a melody note
- brightness: strength of the higher harmonics
- resonance: centre of the body resonance, 300 Hz to 2.4 kHz, of up to 24 dB
- sustain: decay time, 40 ms to 0.6 s, and attack time
- noise: breath, bow and room noise, -50 to -14 dB relative to the tones
- mode: minor below 0, major above
"""

from __future__ import annotations

from math import erf

import numpy as np
from numpy.typing import NDArray

from etude.demo.latent import STYLE

TABLE = 2048
"""Samples per period of a wavetable."""
LONGEST_NOTE_S = 1.2
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSION = (0, 3, 4, 0, 5, 3, 4, 0)
"""Scale degrees of the chords, one per bar of four beats."""


def mode_of(style: NDArray) -> str:
    """Return `major` or `minor`."""
    return "major" if style[STYLE.index("mode")] > 0 else "minor"


def render(style: NDArray, key: int, rate: int, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Synthesise a piece.

    Args:
        style: (len(STYLE),) style variables, standard normal.
        key: tonic as a pitch class, 0 = C.
        rate: sample rate in Hz.
        seconds: length of the piece.
        rng: source of the random notes, noise and level.

    Returns:
        Mono samples, (round(rate x seconds),) float32 in [-1, 1].
    """
    part = {name: 0.5 * (1 + erf(float(value) / 2**0.5)) for name, value in zip(STYLE, style, strict=True)}
    out = np.zeros(round(rate * seconds), dtype=np.float32)
    starts, midi, gains = _score(part, key, mode_of(style), seconds, rng)
    envelope = _envelope(part["sustain"], rate)
    tuning = rng.uniform(-0.2, 0.2)
    tables = {note: _wave_table(part, _hertz(note + tuning), rate) for note in np.unique(midi).tolist()}
    ramp = np.arange(len(envelope), dtype=np.float32)
    for start, note, gain in zip((starts * rate).astype(int).tolist(), midi.tolist(), gains.tolist(), strict=True):
        length = min(len(envelope), len(out) - start)
        place = (ramp[:length] * np.float32(TABLE * _hertz(note + tuning) / rate)).astype(np.int32) & (TABLE - 1)
        out[start : start + length] += np.float32(gain) * tables[note][place] * envelope[:length]
    level = np.sqrt(np.mean(out**2)) or np.float32(1)
    out += level * np.float32(10 ** ((-50 + 36 * part["noise"]) / 20)) * _noise(len(out), rng)
    return _at_level(out, -20 + rng.uniform(-3, 3))


def _hertz(midi: float) -> float:
    return float(440 * 2 ** ((midi - 69) / 12))


def _score(
    part: dict[str, float], key: int, mode: str, seconds: float, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray]:
    """Draw start (s), MIDI note and gain of every note: a chord per bar, a bass per beat, a melody on half-beats."""
    beat = 60 / (50 * (180 / 50) ** part["tempo"])
    lowest = round(36 + 36 * part["register"])
    scale = np.array(SCALES[mode])

    def pitch(degree: NDArray, octave: int) -> NDArray:
        """Fold degrees into one octave from `lowest`, so that the key doesn't move notes out of the register."""
        return lowest + 12 * octave + (key + scale[degree % 7] - lowest) % 12

    bars = int(np.ceil(seconds / (4 * beat)))
    first_chord = int(rng.integers(len(PROGRESSION)))
    roots = np.array(PROGRESSION)[(first_chord + np.arange(bars)) % len(PROGRESSION)]
    chord_starts = np.repeat(np.arange(bars) * 4 * beat, 3) + np.tile([0.0, 0.01, 0.02], bars)
    chord_notes = pitch((roots[:, None] + np.array([0, 2, 4])).ravel(), 0)
    bass = pitch(roots[np.arange(4 * bars) // 4], -1)
    steps = np.arange(bars * 8)
    sounding = rng.random(len(steps)) < 0.05 + 0.9 * part["density"]
    wander = np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2], len(steps)))
    melody = pitch(roots[steps // 8] + wander, 1)[sounding]
    starts = np.concatenate([chord_starts, np.arange(4 * bars) * beat, steps[sounding] * beat / 2])
    gains = np.concatenate([np.full(3 * bars, 0.2), np.full(4 * bars, 0.25), rng.uniform(0.7, 1.0, len(melody))])
    within = starts < seconds
    return starts[within], np.concatenate([chord_notes, bass, melody])[within], gains[within]


def _envelope(sustain: float, rate: int) -> NDArray[np.float32]:
    """Return attack and exponential decay of a note, which reaches 0 within LONGEST_NOTE_S."""
    decay = 0.04 * (0.6 / 0.04) ** sustain
    attack = 0.003 + 0.05 * sustain
    time = np.arange(int(rate * min(LONGEST_NOTE_S, 7 * decay)), dtype=np.float32) / rate
    release = np.clip((time[-1] - time) / 0.05, 0, 1)
    return (np.minimum(time / attack, 1) * np.exp(-time / decay) * release).astype(np.float32)


def _wave_table(part: dict[str, float], hertz: float, rate: int) -> NDArray[np.float32]:
    """Return one period with unit RMS: harmonics below 0.45 of the rate, at most 40."""
    count = max(1, min(40, int(0.45 * rate / hertz)))
    harmonic = np.arange(1, count + 1)
    octaves_off = np.log2(harmonic * hertz / (300 * 8 ** part["resonance"]))
    amplitude = harmonic ** -(2.8 - 2.6 * part["brightness"]) * 10 ** (24 / 20 * np.exp(-((octaves_off / 0.5) ** 2)))
    spectrum = np.zeros(TABLE // 2 + 1, dtype=complex)
    spectrum[1 : count + 1] = amplitude * np.exp(
        1j * np.pi * harmonic**2 / count
    )  # spread phases give a low crest factor
    wave = np.fft.irfft(spectrum, TABLE)
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def _noise(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Generate noise of unit variance whose spectrum falls slowly towards high frequencies."""
    white = rng.standard_normal(samples + 1, dtype=np.float32)
    return (white[1:] + np.float32(0.6) * white[:-1]) / np.float32(1.36**0.5)


def _at_level(samples: NDArray[np.float32], decibels: float) -> NDArray[np.float32]:
    """Scale to an RMS in dB of full scale, or to a peak of 0.95 if that would clip."""
    gain = 10 ** (decibels / 20) / max(float(np.sqrt(np.mean(samples**2))), 1e-9)
    return samples * np.float32(min(gain, 0.95 / max(float(np.abs(samples).max()), 1e-9)))
