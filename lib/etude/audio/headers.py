"""Find files whose header states no length or a wrong one, and present them with a header that states the true one.

libsndfile reads no further than a header says. Which headers can be wrong:

- MP3: without a Xing or VBRI tag the length is a guess from the first frame's bit rate (mp3.py).
- FLAC: an encoder that writes to a pipe leaves 0; a truncated file states the length of the whole (flac.py).
- WAV, RF64, AIFF, AU, CAF: a recorder that is cut off leaves the sizes of an empty file (unsized.py).

libsndfile itself finds the length of the others in their data: Ogg by the last page, W64 by the size of the file. None
of these checks decodes anything.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from etude.audio import flac, mp3, unsized

_ESTIMATES: dict[str | None, Callable[[BinaryIO, int], tuple[bytes, int] | None]] = {
    "MP3": mp3.true_header,
    "FLAC": flac.true_header,
}


class Spliced(io.RawIOBase):
    """Read `head`, and after it the file `rest` from the position `start` on."""

    def __init__(self, head: bytes, rest: BinaryIO, start: int):
        """Take over `rest`: closing this file closes it."""
        self._head = head
        self._rest = rest
        self._start = start
        self._size = len(head) + max(0, rest.seek(0, io.SEEK_END) - start)
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position of the spliced file."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the position in the spliced file."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as many bytes as fit, fewer at the end of the file."""
        view = memoryview(buffer).cast("B")
        data = self._head[self._at : self._at + len(view)]
        if len(data) < len(view):
            self._rest.seek(self._start + max(0, self._at - len(self._head)))
            data += self._rest.read(len(view) - len(data))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file `rest`."""
        self._rest.close()
        super().close()


def stream_of(source: str | bytes | bytearray) -> BinaryIO:
    """Open a local path or the bytes of a file for reading."""
    return io.BytesIO(source) if isinstance(source, bytes | bytearray) else Path(source).open("rb")


def with_true_length(source: str | bytes | bytearray, form: str | None, frames: int) -> Spliced | None:
    """Return the file with a header that states its length, or None if its own header does or nothing better is known.

    Args:
        source: a local path, or the bytes of a file.
        form: libsndfile's name of the format, or None if libsndfile refuses the file.
        frames: the length in samples according to libsndfile.
    """
    if frames and form not in _ESTIMATES:
        return None
    check = _ESTIMATES.get(form, unsized.true_header)
    stream = stream_of(source)
    found = check(stream, frames)
    if found is None:
        stream.close()
        return None
    head, start = found
    return Spliced(head, stream, start)
