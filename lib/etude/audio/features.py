"""Compute a spectrogram or refusal for each crop of a file; runs in the decoding process but doesn't depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.audio.decode import AudioFile, Source, open_audio, read_crop
from etude.audio.fallback import Transcoder
from etude.audio.recipe import Recipe
from etude.audio.refusal import RefusedError
from etude.audio.spectrogram import log_mel


@dataclass(frozen=True)
class Spectrogram:
    """Hold a crop's result: mel float32 (n_mels, n_frames) in dB; offset_s, duration_s, content_sha256 as in Crop."""

    crop: int
    mel: NDArray[np.float32]
    offset_s: float
    duration_s: float
    content_sha256: str


@dataclass(frozen=True)
class Refusal:
    """Hold a refused crop: its reason (a key of etude.audio.refusal) and the details of the fault."""

    crop: int
    reason: str
    detail: str


Outcome = Spectrogram | Refusal


def spectrograms(
    source: Source, track_id: str, crops: Sequence[int], recipe: Recipe, fallback: Transcoder | None = None
) -> list[Outcome]:
    """Return the outcome of each requested crop of one file, in order; faults of a file don't raise errors."""
    outcomes = _with_libsndfile(source, track_id, crops, recipe)
    if fallback is None or not any(isinstance(o, Refusal) and o.reason == "undecodable" for o in outcomes):
        return outcomes
    try:
        with fallback.as_wav(source) as wav:
            return _with_libsndfile(wav, track_id, crops, recipe)
    except RefusedError as refused:
        return [Refusal(crop, refused.reason, refused.detail) for crop in crops]


def _with_libsndfile(source: Source, track_id: str, crops: Sequence[int], recipe: Recipe) -> list[Outcome]:
    try:
        with open_audio(source) as file:
            return [_outcome(source, file, track_id, crop, recipe) for crop in crops]
    except Exception as error:
        refused = _refused(error)
        return [Refusal(crop, refused.reason, refused.detail) for crop in crops]


def _outcome(source: Source, file: AudioFile, track_id: str, crop: int, recipe: Recipe) -> Outcome:
    try:
        found = read_crop(source, file, track_id, crop, recipe)
        mel = log_mel(found.samples, recipe)
        if not np.isfinite(mel).all():
            raise RefusedError("non_finite", f"the spectrogram at {found.offset_s:.3f} s isn't finite")
    except Exception as error:
        refused = _refused(error)
        return Refusal(crop, refused.reason, refused.detail)
    return Spectrogram(crop, mel, found.offset_s, found.duration_s, found.content_sha256)


def _refused(error: Exception) -> RefusedError:
    """Turn any error into a refusal, so that a malicious file costs only that file; `failed` names unknown errors."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, MemoryError):
        return RefusedError("out_of_memory", str(error) or "not enough memory")
    return RefusedError("failed", f"{type(error).__name__}: {error}")
