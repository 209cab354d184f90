"""Decode a crop of a file into mono samples: seek, read only the crop, mix, check, resample."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from etude.audio.recipe import Recipe, crop_offset, position
from etude.audio.refusal import RefusedError

_SILENCE = 1e-5

Source = str | bytes | bytearray


class AudioFile(soundfile.SoundFile):
    """Open a file with libsndfile and read it without additional seeks.

    soundfile seeks after every read of a seekable file, to keep its read and write positions equal. This file is never
    written. The seek costs time, and it fails on files whose header states a wrong length.
    """

    def seekable(self) -> bool:
        """Return False, so that `read` doesn't seek; `seek` itself still works."""
        return False


@dataclass(frozen=True)
class Crop:
    """Hold one decoded crop.

    samples: float32 (recipe.n_samples,) at recipe.sample_rate. offset_s: its start in the file in seconds. duration_s:
    decodable length of the file in seconds. content_sha256: hash of the mono float32 crop at the native rate.
    """

    samples: NDArray[np.float32]
    offset_s: float
    duration_s: float
    content_sha256: str


def open_audio(source: Source) -> AudioFile:
    """Open a local path or the bytes of a file with libsndfile.

    Raises:
        RefusedError: undecodable; missing or unreadable if the path can't be opened.
    """
    try:
        return AudioFile(io.BytesIO(source) if isinstance(source, bytes | bytearray) else source)
    except (soundfile.LibsndfileError, TypeError) as error:
        if isinstance(source, str):
            _check_readable(source)
        raise RefusedError("undecodable", _message(error)) from error


def _check_readable(path: str) -> None:
    # libsndfile reports every error of the operating system as "System error."; Python names the cause.
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise RefusedError("missing", "no such file") from error
    except (OSError, ValueError) as error:
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error


def read_crop(source: Source, file: AudioFile, track_id: str, crop: int, recipe: Recipe) -> Crop:
    """Decode the crop for (recipe.seed, track_id, crop) of an open file (`source` reopens it).

    The crop's first sample is int(offset_s x native rate), as in librosa.load(offset=offset_s). If the file is shorter
    than its header states, the crop moves to the end of the decodable part.

    Raises:
        RefusedError: too_short, silent, non_finite or undecodable.
    """
    try:
        window, offset_s, duration_s = _window(source, file, position(recipe.seed, track_id, crop), recipe)
    except soundfile.LibsndfileError as error:
        raise RefusedError("undecodable", _message(error)) from error
    mono = _mix(window)
    peak = float(np.max(np.abs(mono)))
    if not np.isfinite(peak):
        raise RefusedError("non_finite", f"NaN or infinity in the crop at {offset_s:.3f} s")
    if peak < _SILENCE:
        raise RefusedError(
            "silent", f"peak {peak:.1e} in the crop at {offset_s:.3f} s; expected at least {_SILENCE:.0e}"
        )
    return Crop(
        samples=_resample(mono, file.samplerate, recipe),
        offset_s=offset_s,
        duration_s=duration_s,
        content_sha256=hashlib.sha256(mono.data).hexdigest(),
    )


def _window(source: Source, file: AudioFile, place: float, recipe: Recipe) -> tuple[NDArray[np.float32], float, float]:
    """Return the crop (wanted, channels), its offset and the file's length, both in seconds."""
    rate = file.samplerate
    wanted = int(recipe.crop_s * rate)
    _check_length(file.frames, wanted, rate, recipe)
    offset_s = crop_offset(place, file.frames / rate, recipe.crop_s)
    window, frames = _read_at(source, file, int(offset_s * rate), wanted)
    if len(window) < wanted:
        _check_length(frames, wanted, rate, recipe)
        offset_s = min(offset_s, frames / rate - recipe.crop_s)
        window, _ = _read_at(source, file, int(offset_s * rate), wanted)
    if len(window) < wanted:
        raise RefusedError("undecodable", f"only {len(window)} of {wanted} samples decoded at {offset_s:.3f} s")
    return window, offset_s, frames / rate


def _check_length(frames: int, wanted: int, rate: int, recipe: Recipe) -> None:
    if frames < wanted or wanted < 1:
        raise RefusedError("too_short", f"{frames / rate:.3f} s of audio; at least {recipe.crop_s:g} s needed")


def _read_at(source: Source, file: AudioFile, start: int, wanted: int) -> tuple[NDArray[np.float32], int]:
    """Read up to `wanted` frames from `start`: return them, (n, channels), and the file's known number of frames."""
    try:
        file.seek(start)
        window = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        window = np.empty((0, file.channels), np.float32)
    if len(window) == wanted:
        return window, file.frames
    if len(window):
        return window, start + len(window)
    return _read_through(source, start, wanted)


def _read_through(source: Source, start: int, wanted: int) -> tuple[NDArray[np.float32], int]:
    """Read as `_read_at` does, but without seeking: reopen the file, because a seek failed, and decode it all."""
    with open_audio(source) as file:
        block = np.empty((max(1, min(file.samplerate, 1 << 18)), file.channels), np.float32)
        window = np.empty((wanted, file.channels), np.float32)
        done = 0
        while done < start + wanted:
            place = done - start
            try:
                read = len(file.read(out=block[:-place] if place < 0 else window[place : place + len(block)]))
            except soundfile.LibsndfileError:
                if not done:
                    raise
                read = 0  # the file is truncated here; keep the part decoded so far
            if not read:
                return window[: max(0, place)], done
            done += read
        return window, file.frames


def _mix(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of (n, channels) into float32 (n,); adding channels is ten times faster than np.mean."""
    mono = window[:, 0].copy()
    for channel in range(1, window.shape[1]):
        mono += window[:, channel]
    mono /= window.shape[1]
    return mono


def _resample(mono: NDArray[np.float32], rate: int, recipe: Recipe) -> NDArray[np.float32]:
    """Resample to float32 (recipe.n_samples,) at recipe.sample_rate; cut or zero-pad the length that soxr rounds."""
    if rate != recipe.sample_rate:
        mono = soxr.resample(mono, rate, recipe.sample_rate, quality="HQ")
    n = recipe.n_samples
    return mono[:n] if len(mono) >= n else np.pad(mono, (0, n - len(mono)))


def _message(error: Exception) -> str:
    """Return libsndfile's message, without the path that soundfile prepends."""
    return str(getattr(error, "error_string", error)).strip()
