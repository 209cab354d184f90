"""A window of a file as mono samples: seek, read only the window, mix, check, resample."""

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
    """A file of libsndfile's whose reads are nothing but reads.

    soundfile seeks after every read of a seekable file, to keep its read and write positions together. Nothing is
    written here, and that seek costs time and fails on files whose header lies about their length.
    """

    def seekable(self) -> bool:
        """False, which is what keeps `read` from seeking; `seek` itself works all the same."""
        return False


@dataclass(frozen=True)
class Crop:
    """One decoded window.

    samples: float32 (recipe.n_samples,) at recipe.sample_rate. offset_s: its start in the file, seconds. duration_s:
    decodable length of the file, seconds. content_sha256: hash of the mono float32 window at the native rate.
    """

    samples: NDArray[np.float32]
    offset_s: float
    duration_s: float
    content_sha256: str


def open_audio(source: Source) -> AudioFile:
    """Open a local path or the bytes of a file with libsndfile.

    Raises:
        RefusedError: undecodable, or missing or unreadable where the path can't be opened at all.
    """
    try:
        return AudioFile(io.BytesIO(source) if isinstance(source, bytes | bytearray) else source)
    except (soundfile.LibsndfileError, TypeError) as error:
        if isinstance(source, str):
            _check_readable(source)
        raise RefusedError("undecodable", _message(error)) from error


def _check_readable(path: str) -> None:
    # libsndfile says "System error." for whatever the operating system refuses; Python says what it was.
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise RefusedError("missing", "no such file") from error
    except (OSError, ValueError) as error:
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error


def read_crop(source: Source, file: AudioFile, track_id: str, crop: int, recipe: Recipe) -> Crop:
    """Decode the window that belongs to (recipe.seed, track_id, crop) of an open file (`source` reopens it).

    The window's first sample is int(offset_s x native rate), as in librosa.load(offset=offset_s). Where the header
    promised more than there is, the window moves to the end of what can be decoded.

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
        raise RefusedError("non_finite", f"NaN or infinity in the window at {offset_s:.3f} s")
    if peak < _SILENCE:
        raise RefusedError("silent", f"peak {peak:.1e} in the window at {offset_s:.3f} s")
    return Crop(
        samples=_resample(mono, file.samplerate, recipe),
        offset_s=offset_s,
        duration_s=duration_s,
        content_sha256=hashlib.sha256(mono.data).hexdigest(),
    )


def _window(source: Source, file: AudioFile, place: float, recipe: Recipe) -> tuple[NDArray[np.float32], float, float]:
    """The window (wanted, channels), its offset and the file's length in seconds."""
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
        raise RefusedError("undecodable", f"{len(window)} of {wanted} samples at {offset_s:.3f} s")
    return window, offset_s, frames / rate


def _check_length(frames: int, wanted: int, rate: int, recipe: Recipe) -> None:
    if frames < wanted or wanted < 1:
        raise RefusedError("too_short", f"{frames / rate:.3f} s of audio, {recipe.crop_s:g} s needed")


def _read_at(source: Source, file: AudioFile, start: int, wanted: int) -> tuple[NDArray[np.float32], int]:
    """Up to `wanted` frames from `start`, (n, channels), and the file's frames as far as they are known now."""
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
    """The same without seeking: decode from the beginning. A file whose seek failed must be opened anew for it."""
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
                read = 0  # here the file breaks off: what was decoded before stands
            if not read:
                return window[: max(0, place)], done
            done += read
        return window, file.frames


def _mix(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the channels of (n, channels), float32 (n,); added channel by channel: ten times np.mean's speed."""
    mono = window[:, 0].copy()
    for channel in range(1, window.shape[1]):
        mono += window[:, channel]
    mono /= window.shape[1]
    return mono


def _resample(mono: NDArray[np.float32], rate: int, recipe: Recipe) -> NDArray[np.float32]:
    """float32 (recipe.n_samples,) at recipe.sample_rate; soxr's rounding of the length is cut or filled with zeros."""
    if rate != recipe.sample_rate:
        mono = soxr.resample(mono, rate, recipe.sample_rate, quality="HQ")
    n = recipe.n_samples
    return mono[:n] if len(mono) >= n else np.pad(mono, (0, n - len(mono)))


def _message(error: Exception) -> str:
    """What libsndfile said, without the path that soundfile puts before it."""
    return str(getattr(error, "error_string", error)).strip()
