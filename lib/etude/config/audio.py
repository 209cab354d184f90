"""Define the settings of the mel stage."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from etude.config.base import Section

# Raise this when the same settings give different numbers; every mel row is then recomputed.
_METHOD = 2


class AudioColumns(Section):
    """Name the columns of the manifest."""

    track: str = "track_id"
    """Track id."""
    path: str = "audio_path"
    """Path of the file, relative to the manifest, or a URI."""


class AudioSettings(Section):
    """Locate the audio: by the manifest if set, otherwise below root if set, otherwise by audio_uri in `tracks`."""

    manifest: str | None = None
    """CSV file (path or URI, with a header) that lists tracks and files; its paths are relative to it."""
    root: str | None = None
    """Folder or URI that is searched recursively if no manifest is set; a file's path without suffix is its track
    id."""
    columns: AudioColumns = AudioColumns()
    """Columns of the manifest."""
    suffixes: tuple[str, ...] = (
        ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64",
        ".mod", ".m4a", ".aac", ".wma",
    )  # fmt: skip
    """Suffixes (any case) of the files to read below audio.root; other files are ignored."""
    keep_suffix: bool = False
    """Whether track ids made from file names keep the suffix; needed if a.mp3 and a.wav are different tracks."""
    allowed_roots: tuple[str, ...] | None = None
    """Folders or URIs that may hold audio, besides root and the manifest's folder; null: absolute paths and URIs are
    not restricted. Relative paths of a manifest or of root, and their links, that lead out of their folder are always
    refused. Those of a catalogue count as absolute."""


class MelSettings(Section):
    """Configure the mel spectrogram."""

    sample_rate: int = Field(8000, ge=1000, le=192_000)
    """Sample rate in Hz after resampling."""
    crop_s: float = Field(3.0, gt=0, le=600)
    """Length of a crop in seconds."""
    crops: int = Field(1, ge=1, le=1000)
    """Number of crops per track."""
    n_fft: int = Field(1024, ge=64, le=65_536)
    """FFT length in samples."""
    hop_length: int = Field(512, ge=1)
    """Hop between frames in samples."""
    n_mels: int = Field(128, ge=1, le=1024)
    """Number of mel filters."""
    window: Literal["hamming", "hann"] = "hamming"
    """Window function of the Fourier transform."""
    seed: int = 1
    """Seed of the crop's offset."""
    offsets: int = Field(5, ge=1, le=100)
    """Number of offsets that are tried for a crop; it is refused as silent only if all of them are silent."""
    fallback: Literal["none", "ffmpeg"] = "none"
    """Decoder for files that libsndfile refuses; ffmpeg must be installed on every executor."""
    time_limit_s: float = Field(30.0, gt=0)
    """Seconds after which a file's decoder is killed and the file is refused (timeout). Fetching a file that is not on
    a local or mounted file system may take the same time again."""
    memory_mb: int = Field(1024, ge=256)
    """Address space of the decoding process in MB (2**20 bytes). Files that are not on a local or mounted file system
    are read whole; those above half of this limit are refused (too_large)."""
    max_file_mb: int = Field(4096, ge=1)
    """Largest size of a file in MB; larger files are refused without being read (too_large)."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Return the settings that determine the values of a mel row, and no others."""
        return self.model_dump(
            include={"sample_rate", "crop_s", "n_fft", "hop_length", "n_mels", "window", "seed", "offsets"}, mode="json"
        )

    @property
    def settings_sha256(self) -> str:
        """Return the hash of `recipe`, by which rows of `mel` record their settings (`mel.settings_sha256`)."""
        return _hash({"method": _METHOD, **self.recipe})

    @property
    def attempt_sha256(self) -> str:
        """Return the hash of all settings that affect refusals; refused files are retried when it changes."""
        return _hash({"method": _METHOD, **self.model_dump(exclude={"crops"}, mode="json")})


def _hash(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
