"""Find the length of a FLAC file by its last frame, if the header states none or a wrong one."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from etude.audio.mp3 import after_id3

# Magic, header of the first block, STREAMINFO.
_HEAD = 42
_COUNT = slice(18, 26)
_TOTAL = (1 << 36) - 1
_SYNC = re.compile(b"\xff[\xf8\xf9]")
# Of a damaged end, this many headers are tried.
_MOST_HEADERS = 8
# Tags may follow the last frame.
_LEAST_TAIL, _MOST_TAIL = 1 << 14, 1 << 18


@dataclass(frozen=True)
class _FrameHeader:
    """Hold a frame's place in the searched bytes, the number of its first sample, and its length in samples."""

    at: int
    first: int
    length: int


def true_header(stream: BinaryIO, _frames: int) -> tuple[bytes, int] | None:
    """Return a header that states the length of the complete frames, and the position of what follows the header.

    None means that the header is right, or that no complete frame was found near the end.
    """
    start = after_id3(stream)
    stream.seek(start)
    head = stream.read(_HEAD)
    if len(head) < _HEAD or head[:4] != b"fLaC":
        return None
    stated = int.from_bytes(head[_COUNT], "big")
    largest = int.from_bytes(head[15:18], "big")
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(start + _HEAD, size - min(_MOST_TAIL, max(_LEAST_TAIL, 2 * largest))))
    tail = stream.read()
    total = stated & _TOTAL
    end = len(tail)
    for header in _last_headers(tail, int.from_bytes(head[10:12], "big")):
        length = header.first + header.length
        if length == total:
            return None
        if length <= _TOTAL and _crc(tail[header.at : end], 16, 0x8005) == 0:
            count = (stated & ~_TOTAL | length).to_bytes(8, "big")
            return head[: _COUNT.start] + count + head[_COUNT.stop :], start + _HEAD
        end = header.at
    return None


def _last_headers(tail: bytes, usual: int) -> Iterator[_FrameHeader]:
    """Yield the last headers of frames, the last one first; `usual` is the length of a frame in STREAMINFO."""
    places = [found.start() for found in _SYNC.finditer(tail)]
    headers = filter(None, (_frame_header(tail, at, usual) for at in reversed(places)))
    return itertools.islice(headers, _MOST_HEADERS)


def _frame_header(data: bytes, at: int, usual: int) -> _FrameHeader | None:
    """Return the frame header at a sync code, or None if the code is part of something else."""
    sizes, kinds = data[at + 2 : at + 4] if at + 4 < len(data) else (0, 1)
    length_code, rate_code = sizes >> 4, sizes & 15
    if not length_code or rate_code == 15 or kinds >> 4 > 10 or kinds & 1:
        return None
    coded = _number(data[at + 4 : at + 11])
    if coded is None:
        return None
    number, used = coded
    place = at + 4 + used
    length_bytes = {6: 1, 7: 2}.get(length_code, 0)
    rate_bytes = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = place + length_bytes + rate_bytes + 1
    if end > len(data) or _crc(data[at:end], 8, 0x07):
        return None
    if length_bytes:
        length = 1 + int.from_bytes(data[place : place + length_bytes], "big")
    else:
        length = 192 if length_code == 1 else 576 << length_code - 2 if length_code < 6 else 256 << length_code - 8
    # The last bit of the sync code says whether samples are numbered or frames of equal length.
    return _FrameHeader(at, number if data[at + 1] & 1 else number * usual, length)


def _number(data: bytes) -> tuple[int, int] | None:
    """Decode a number of 1 to 7 bytes, coded as UTF-8 codes characters; return it and its number of bytes."""
    if not data or data[0] in (0xFF, *range(0x80, 0xC0)):
        return None
    if data[0] < 0x80:
        return data[0], 1
    used = next(n for n in range(2, 8) if not data[0] << n & 0x80)
    number = data[0] & (0x7F >> used)
    for byte in data[1:used]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    return number, used


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """Return the cyclic redundancy check of `data`; it is 0 if the data ends with its own check."""
    table, mask, shift = _table(bits, polynomial), (1 << bits) - 1, bits - 8
    value = 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> shift ^ byte]
    return value


@cache
def _table(bits: int, polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table
