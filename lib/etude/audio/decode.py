"""Decode a crop of a file into mono samples: seek, read only the crop, mix, check, resample."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from etude.audio.headers import Spliced, with_true_length
from etude.audio.recipe import Recipe, crop_offset, positions
from etude.audio.refusal import RefusedError
from etude.audio.sniff import message_of, note_on_streams, why_undecodable

_SILENCE = 1e-5
# libsndfile states more frames than this if it found no length, as in a file of several Ogg streams.
_NO_LENGTH = 1 << 62

Source = str | bytes | bytearray


class AudioFile(soundfile.SoundFile):
    """Open a file with libsndfile and read it without additional seeks.

    soundfile seeks after every read of a seekable file, to keep its read and write positions equal. This file is never
    written. The seek costs time, and it fails on files whose header states a wrong length.

    length: number of decodable samples per channel, as far as it is known without decoding the file.
    """

    def __init__(self, file: bytes | io.BytesIO | Spliced):
        """Open a path or a file object, which is closed together with this file."""
        self._source = None if isinstance(file, bytes) else file
        super().__init__(file)
        self.length: int = self.frames

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._source is not None:
            self._source.close()

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
    """Open a local path or the bytes of a file with libsndfile, and find its decodable length.

    Raises:
        RefusedError: undecodable; missing or unreadable if the path can't be opened.
    """
    file = _open(source)
    if file.frames >= _NO_LENGTH:
        try:
            file.length = _read_through(source, _NO_LENGTH, 0)[1]
        except soundfile.LibsndfileError as error:
            file.close()
            raise RefusedError("undecodable", message_of(error)) from error
    return file


def _open(source: Source) -> AudioFile:
    file, failed = None, None
    try:
        file = AudioFile(io.BytesIO(source) if isinstance(source, bytes | bytearray) else os.fsencode(source))
    except (soundfile.LibsndfileError, TypeError) as error:
        failed = error
    try:
        better = with_true_length(source, file and file.format, file.frames if file else 0)
    except OSError as error:  # libsndfile reports each as "System error."; Python names the cause
        raise _unopened(error) from error
    if better is None and file is not None:
        return file
    if file is not None:
        file.close()
    try:
        if better is not None:
            return AudioFile(better)
    except (soundfile.LibsndfileError, TypeError) as error:
        failed = error
    raise RefusedError("undecodable", why_undecodable(source, failed)) from failed


def _unopened(error: OSError) -> RefusedError:
    if isinstance(error, FileNotFoundError):
        return RefusedError("missing", "no such file")
    return RefusedError("unreadable", f"{type(error).__name__}: {error.strerror}")


def read_crop(source: Source, file: AudioFile, track_id: str, crop: int, recipe: Recipe) -> Crop:
    """Decode the crop for (recipe, track_id, crop) of an open file (`source` reopens it).

    The crop is the first of recipe.offsets windows that isn't silent. Its first sample is int(offset_s x native rate),
    as in librosa.load(offset=offset_s). If less can be decoded than the length of the file, the crop moves to the end
    of the decodable part. If that is too short, as where an MP3 is damaged near its start, the other windows are tried.

    Raises:
        RefusedError: too_short, silent, non_finite or undecodable.
    """
    silent: list[_Silence] = []
    too_short: RefusedError | None = None
    for place in positions(recipe, track_id, crop):
        try:
            window, offset_s, duration_s = _window(source, file, place, recipe)
        except soundfile.LibsndfileError as error:
            raise RefusedError("undecodable", message_of(error)) from error
        except RefusedError as error:
            if file.length < int(recipe.crop_s * file.samplerate):
                raise
            too_short = error
            continue
        mono = _mix(window)
        peak = float(np.max(np.abs(mono)))
        if not np.isfinite(peak):
            raise RefusedError("non_finite", f"NaN or infinity in the crop at {offset_s:.3f} s")
        if peak >= _SILENCE:
            return Crop(
                samples=_resample(mono, file.samplerate, recipe),
                offset_s=offset_s,
                duration_s=duration_s,
                content_sha256=hashlib.sha256(mono.data).hexdigest(),
            )
        silent.append(_Silence(offset_s, peak, float(np.max(np.abs(window)))))
    if not silent and too_short is not None:
        raise too_short
    raise RefusedError("silent", _described(silent) + note_on_streams(source, file.format))


@dataclass(frozen=True)
class _Silence:
    """Hold the offset in seconds of a silent window, the peak of its mean, and the peak of its loudest channel."""

    offset_s: float
    peak: float
    channel_peak: float


def _described(silent: list[_Silence]) -> str:
    mean = max(silence.peak for silence in silent)
    channel = max(silence.channel_peak for silence in silent)
    tried = f"offsets tried: {len(silent)}, the first {silent[0].offset_s:.3f} s"
    if channel >= _SILENCE:
        return f"the channels cancel out: their mean has peak {mean:.1e}, a channel has {channel:.1e}; {tried}"
    return f"peak {mean:.1e}, expected at least {_SILENCE:.0e}; {tried}"


def _window(source: Source, file: AudioFile, place: float, recipe: Recipe) -> tuple[NDArray[np.float32], float, float]:
    """Return the crop (wanted, channels), its offset and the file's length, both in seconds."""
    rate = file.samplerate
    wanted = int(recipe.crop_s * rate)
    _check_length(source, file, file.length, wanted, recipe)
    offset_s = crop_offset(place, file.length / rate, recipe.crop_s)
    window, frames = _read_at(source, file, int(offset_s * rate), wanted)
    if len(window) < wanted:
        _check_length(source, file, frames, wanted, recipe)
        offset_s = min(offset_s, frames / rate - recipe.crop_s)
        window, _ = _read_at(source, file, int(offset_s * rate), wanted)
    if len(window) < wanted:
        raise RefusedError("undecodable", f"only {len(window)} of {wanted} samples decoded at {offset_s:.3f} s")
    return window, offset_s, frames / rate


def _check_length(source: Source, file: AudioFile, frames: int, wanted: int, recipe: Recipe) -> None:
    if wanted < 1:
        raise RefusedError("too_short", f"mel.crop_s={recipe.crop_s:g} is less than a sample at {file.samplerate} Hz")
    if frames < wanted:
        seconds = frames / file.samplerate
        # More digits for a file that lacks only a few samples; rounding must not show it as long enough.
        digits = next(n for n in range(3, 16) if round(seconds, n) < recipe.crop_s)
        note = note_on_streams(source, file.format)
        raise RefusedError("too_short", f"{seconds:.{digits}f} s of audio; at least {recipe.crop_s:g} s needed{note}")


def _read_at(source: Source, file: AudioFile, start: int, wanted: int) -> tuple[NDArray[np.float32], int]:
    """Read up to `wanted` frames from `start`: return them, (n, channels), and the file's known number of frames."""
    try:
        if file.subtype == "VORBIS":
            file.seek(0)  # after a seek forwards, libsndfile's decoder still mixes in what it had decoded before
        file.seek(start)
        window = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        window = np.empty((0, file.channels), np.float32)
    if len(window) == wanted:
        return window, file.length
    if len(window):
        return window, start + len(window)
    window, decodable = _read_through(source, start, wanted)
    return window, file.length if len(window) == wanted else decodable


def _read_through(source: Source, start: int, wanted: int) -> tuple[NDArray[np.float32], int]:
    """Read up to `wanted` frames from `start` without seeking: reopen the file and decode it from its beginning.

    Return them, (n, channels), and the number of frames decoded.
    """
    with _open(source) as file:
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
        return window, done


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
