"""Count the frames of an MP3 file whose length is only an estimate."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

_HEADER = 4
_CHUNK = 1 << 20
# How far to look for the first frame, and for the next one after damage.
_SEARCHED = 1 << 16
# A tag's own count of bytes may leave out its frame; tags of text may follow the last frame.
_BYTES_MORE, _BYTES_LESS = 4096, 2048

# Samples that the decoder adds at the beginning, which it cuts off if a tag exists.
_DECODER_DELAY = 529

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBPS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBPS[0] = _KBPS[2]


@dataclass(frozen=True)
class _Frame:
    """Hold a layer-III frame header: 4 bytes, and the version of MPEG (3: 1, 2: 2, 0: 2.5)."""

    header: bytes

    @property
    def version(self) -> int:
        return self.header[1] >> 3 & 3

    @property
    def samples(self) -> int:
        return 1152 if self.version == 3 else 576

    @property
    def tag_at(self) -> int:
        """Return the position of a Xing tag in the frame: after the header and the side information."""
        mono = self.header[3] >> 6 == 3
        return _HEADER + ((17 if mono else 32) if self.version == 3 else (9 if mono else 17))

    @property
    def sizes(self) -> dict[bytes, int]:
        """Return the first three bytes of every possible header of the same stream -> size of the frame in bytes."""
        return _sizes(self.version, self.header[2] & 0x0C)


@cache
def _sizes(version: int, rate_bits: int) -> dict[bytes, int]:
    rate = _RATES[version][rate_bits >> 2]
    return {
        bytes((0xFF, 0xE2 | version << 3 | unprotected, n << 4 | rate_bits | padding << 1 | private)): (
            (144 if version == 3 else 72) * 1000 * kbps // rate + padding
        )
        for n, kbps in enumerate(_KBPS[version], start=1)
        for padding in (0, 1)
        for private in (0, 1)
        for unprotected in (0, 1)
    }


def true_header(stream: BinaryIO, frames: int) -> tuple[bytes, int] | None:
    """Return a first frame whose Xing tag states the true length, and the position of the first frame of audio.

    A tag of the file is trusted if its numbers of bytes and frames fit the file. Otherwise the frames are counted by
    their headers, which takes some 20 ms for an hour of audio. None means that the file's own length is right.

    Args:
        stream: the MP3 file.
        frames: its length in samples according to libsndfile.
    """
    start = after_id3(stream)
    first = _first_frame(stream, start)
    if first is None:
        return None
    frame, at = first
    size = stream.seek(0, io.SEEK_END)
    stream.seek(at)
    data = stream.read(frame.sizes[frame.header[:3]])
    tag = _tag(frame, data)
    if tag is not None and _fits(*tag, size - at, frame.sizes.values()):
        return None
    audio_at = at if tag is None else at + len(data)
    counted = _count(stream, audio_at, size, frame.sizes)
    stated = frames // frame.samples if tag is None else tag[0]
    if abs(counted - stated) <= 1:
        return None
    return _with_count(frame, data, counted), audio_at


def _fits(frames: int, stated: int, size: int, sizes: Collection[int]) -> bool:
    """Return whether a tag states the size of the file in bytes, and a number of frames that have this size."""
    return (
        -_BYTES_LESS <= size - stated <= _BYTES_MORE
        and min(sizes) * frames <= size <= max(sizes) * frames + _BYTES_MORE
    )


def after_id3(stream: BinaryIO, at: int = 0) -> int:
    """Return the position after the ID3v2 tags at `at`."""
    while True:
        stream.seek(at)
        head = stream.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return at
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        at += 10 + size


def _first_frame(stream: BinaryIO, start: int) -> tuple[_Frame, int] | None:
    """Return the first frame that another one of the same stream follows, and its position."""
    stream.seek(start)
    data = stream.read(_SEARCHED)
    at = data.find(b"\xff")
    while 0 <= at <= len(data) - _HEADER:
        header = data[at : at + _HEADER]
        if header[1] & 0xE6 == 0xE2 and header[1] >> 3 & 3 != 1 and header[2] >> 2 & 3 != 3:
            frame = _Frame(header)
            sizes = frame.sizes
            size = sizes.get(header[:3])
            if size and data[at + size : at + size + 3] in sizes:
                return frame, start + at
        at = data.find(b"\xff", at + 1)
    return None


def _tag(frame: _Frame, data: bytes) -> tuple[int, int] | None:
    """Return the numbers of frames and bytes of a frame's Xing or VBRI tag (0 if not stated), or None without a tag."""

    def number(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "big")

    at = frame.tag_at
    if data[at : at + 4] in (b"Xing", b"Info"):
        flags = number(at + 4)
        count = number(at + 8) if flags & 1 else 0
        return count, (number(at + 8 + 4 * (flags & 1)) if flags & 2 else 0)
    if data[36:40] == b"VBRI":
        return number(50), number(46)
    return None


def _count(stream: BinaryIO, at: int, end: int, sizes: dict[bytes, int]) -> int:
    """Count the complete frames from `at` to `end`; a part without frames is passed over as the decoder does."""
    frames = 0
    while at < end:
        stream.seek(at)
        data = stream.read(_CHUNK)
        place, last = 0, len(data) - 3
        while place <= last and (size := sizes.get(data[place : place + 3])):
            place += size
            frames += 1
        at += place
        if place <= last:
            found = _next_frame(stream, at, sizes)
            if found is None:
                break
            at = found
        elif len(data) < _CHUNK:
            break
    return frames - (at > end)


def _next_frame(stream: BinaryIO, at: int, sizes: dict[bytes, int]) -> int | None:
    """Return the position of the next two frames after damage or after a tag inside the file."""
    at = after_id3(stream, at)
    stream.seek(at)
    data = stream.read(_SEARCHED)
    place = data.find(b"\xff")
    while place >= 0:
        size = sizes.get(data[place : place + 3])
        if size and data[place + size : place + size + 3] in sizes:
            return at + place
        place = data.find(b"\xff", place + 1)
    return None


def _with_count(frame: _Frame, data: bytes, frames: int) -> bytes:
    """Return the first frame with a number of frames in its Xing tag, or new frames with such a tag.

    A tag that exists is kept, since it also says how many samples the encoder added.
    """
    at = frame.tag_at
    if data[at : at + 4] in (b"Xing", b"Info") and data[at + 7] & 1:
        return data[: at + 8] + frames.to_bytes(4, "big") + data[at + 12 :]
    # The decoder cuts off its own delay and the encoder's. So a silent frame of just this length comes first.
    delay, padding = frame.samples - _DECODER_DELAY, _DECODER_DELAY
    tag = b"Xing" + (1).to_bytes(4, "big") + (frames + 1).to_bytes(4, "big")
    lame = b"LAME".ljust(21, b"\0") + (delay << 12 | padding).to_bytes(3, "big")
    # The tenth bit rate gives a frame that is large enough for a tag in every version.
    header = bytes((0xFF, frame.header[1] | 1, 0xA0 | frame.header[2] & 0x0C, frame.header[3]))
    size = frame.sizes[header[:3]]
    return (header.ljust(at, b"\0") + tag + lame).ljust(size, b"\0") + header.ljust(size, b"\0")
