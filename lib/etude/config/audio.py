"""Settings of the mel stage."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from etude.config.base import Section

# Raise it when the same settings begin to give other numbers: every mel row is then computed anew.
_METHOD = 1


class AudioColumns(Section):
    """Columns of the manifest."""

    track: str = "track_id"
    """Track id."""
    path: str = "audio_path"
    """Path of the file, relative to the manifest, or a URI."""


class AudioSettings(Section):
    """Where the audio lies: the manifest if one is given, else what lies under root, else audio_uri in tracks."""

    manifest: str | None = None
    """CSV (path or URI, with a header) that names track and file; paths in it are relative to it."""
    root: str | None = None
    """Folder or URI that is searched, with all below it, where there is no manifest; a file's path without suffix is
    its track id."""
    columns: AudioColumns = AudioColumns()
    """Columns of the manifest."""
    suffixes: tuple[str, ...] = (
        ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64",
        ".mod", ".m4a", ".aac", ".wma",
    )  # fmt: skip
    """Endings (any case) of the files that audio.root is searched for; others are passed over."""
    keep_suffix: bool = False
    """Whether track ids made from file names keep the suffix: for folders where a.mp3 and a.wav are two tracks."""
    allowed_roots: tuple[str, ...] | None = None
    """Folders or URIs that audio may lie in besides the manifest's or root. Null: absolute paths and URIs are taken
    as they are; relative paths and links that lead out of their folder are refused either way."""


class MelSettings(Section):
    """The mel spectrogram."""

    sample_rate: int = Field(8000, ge=1000, le=192_000)
    """Hz after resampling."""
    crop_s: float = Field(3.0, gt=0, le=600)
    """Length of the window in seconds."""
    crops: int = Field(1, ge=1, le=1000)
    """Windows a track."""
    n_fft: int = Field(1024, ge=64, le=65_536)
    """FFT length in samples."""
    hop_length: int = Field(512, ge=1)
    """Step between frames in samples."""
    n_mels: int = Field(128, ge=1, le=1024)
    """Number of mel filters."""
    window: Literal["hamming", "hann"] = "hamming"
    """Analysis window."""
    seed: int = 1
    """Seed of the window's offset."""
    fallback: Literal["none", "ffmpeg"] = "none"
    """What decodes files that libsndfile refuses; ffmpeg needs that program on every executor."""
    time_limit_s: float = Field(30.0, gt=0)
    """Seconds after which a file's decoder is killed and the file refused (timeout). Reading one that doesn't lie on a
    local or mounted file system may take as long before that."""
    memory_mb: int = Field(1024, ge=256)
    """Address space of the decoding process in MB (2**20 bytes). Files that don't lie on a local or mounted file system
    are read whole and refused (too_large) above half of it."""
    max_file_mb: int = Field(4096, ge=1)
    """Files larger than so many MB are refused unread (too_large)."""

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings that shape a mel row's numbers, and no others."""
        return self.model_dump(
            include={"sample_rate", "crop_s", "n_fft", "hop_length", "n_mels", "window", "seed"}, mode="json"
        )

    @property
    def settings_sha256(self) -> str:
        """Hash of `recipe`: which rows of `mel` belong to these settings (`mel.settings_sha256`)."""
        return _hash({"method": _METHOD, **self.recipe})

    @property
    def attempt_sha256(self) -> str:
        """Hash of all that can decide whether a file is refused; refused files are tried again when it changes."""
        return _hash({"method": _METHOD, **self.model_dump(exclude={"crops"}, mode="json")})


def _hash(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
