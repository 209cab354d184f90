"""Define the recipe of a mel row, which the decoding process receives, and the start of each crop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Recipe:
    """Hold the settings that determine the values of a mel row (MelSettings.recipe).

    sample_rate in Hz, crop_s in seconds, n_fft and hop_length in samples at sample_rate. offsets: number of offsets
    that are tried before a crop is refused as silent.
    """

    sample_rate: int = 8000
    crop_s: float = 3.0
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    window: str = "hamming"
    seed: int = 1
    offsets: int = 5

    @property
    def n_samples(self) -> int:
        """Return the number of samples of a crop after resampling."""
        return round(self.crop_s * self.sample_rate)

    @property
    def n_frames(self) -> int:
        """Return the number of frames of a crop's spectrogram (centred frames: n_fft // 2 zeros on either side)."""
        return 1 + (self.n_samples + 2 * (self.n_fft // 2) - self.n_fft) // self.hop_length


def position(seed: int, track_id: str, crop: int) -> float:
    """Return the relative start of a crop in [0, 1): the first 53 bits of sha256("seed:track_id:crop")."""
    digest = hashlib.sha256(f"{seed}:{track_id}:{crop}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def positions(recipe: Recipe, track_id: str, crop: int) -> list[float]:
    """Return the relative starts to try for a crop, recipe.offsets in number, the usual one first.

    Steps of the golden ratio spread any number of starts evenly. So a larger recipe.offsets keeps the earlier starts.
    """
    first = position(recipe.seed, track_id, crop)
    return [(first + n * _GOLDEN) % 1.0 for n in range(recipe.offsets)]


def crop_offset(place: float, duration_s: float, crop_s: float) -> float:
    """Return the start of a crop in seconds: place in [0, 1) x (duration - crop length), at most the last full crop."""
    room = max(0.0, duration_s - crop_s)
    return min(place * room, room)
