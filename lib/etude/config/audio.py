"""Settings of the mel stage."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class AudioColumns(Section):
    """Columns of the manifest."""

    track: str = "track_id"
    """Track id."""
    path: str = "audio_path"
    """Path of the file, relative to the manifest, or a URI."""


class AudioSettings(Section):
    """Where the audio lies."""

    root: str | None = None
    """Folder or URI that is searched for audio where there is no manifest; the path without suffix is the track id."""
    manifest: str | None = None
    """CSV that names track and file; null means audio.root, or audio_uri in tracks."""
    columns: AudioColumns = AudioColumns()
    """Columns of the manifest."""


class MelSettings(Section):
    """The mel spectrogram."""

    sample_rate: int = Field(8000, ge=1000)
    """Hz after resampling."""
    crop_s: float = Field(3.0, gt=0)
    """Length of the window in seconds."""
    crops: int = Field(1, ge=1)
    """Windows a track."""
    n_fft: int = Field(1024, ge=64)
    """FFT length in samples."""
    hop_length: int = Field(512, ge=1)
    """Step between frames in samples."""
    n_mels: int = Field(128, ge=1)
    """Number of mel filters."""
    window: Literal["hamming", "hann"] = "hamming"
    """Analysis window."""
    fallback: Literal["none", "ffmpeg"] = "none"
    """What decodes files that libsndfile refuses."""
    seed: int = 1
    """Seed of the window's offset."""
