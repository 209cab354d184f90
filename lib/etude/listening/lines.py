"""Find lines that are too long to be records, in a stream that isn't held in memory."""

from __future__ import annotations

from dataclasses import dataclass

MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which is not part of a file's first line."""


@dataclass(frozen=True)
class LongLine:
    """Describe a line of more bytes than the limit."""

    start: int
    """Byte at which it starts, after decompression."""
    length: int
    """Its bytes, without the line end."""


class LineMeter:
    """Measure the lines of a text that arrives in chunks; a line ends with a line feed, a carriage return, or both."""

    def __init__(self, limit: int) -> None:
        """Find lines of more than `limit` bytes."""
        self._limit = limit
        self._line_start = 0
        self._at = 0  # bytes seen before the current chunk
        self._found: list[LongLine] = []

    def feed(self, chunk: bytes) -> None:
        """Measure the next bytes."""
        if self._at == 0 and chunk.startswith(MARK):
            self._line_start = len(MARK)
        start = max(0, self._line_start - self._at)
        while start < len(chunk):
            # The last line end in reach of the limit: all lines before it are short enough.
            reach = self._line_start + self._limit + 1 - self._at
            end = max(chunk.rfind(b"\n", start, max(start, reach)), chunk.rfind(b"\r", start, max(start, reach)))
            if end < 0 and reach < len(chunk):
                ends = [place for place in (chunk.find(b"\n", start), chunk.find(b"\r", start)) if place >= 0]
                end = min(ends, default=-1)
                if end >= 0:
                    self._note(self._at + end)
            if end < 0:
                break
            start = end + 1
            self._line_start = self._at + start
        self._at += len(chunk)

    def finish(self) -> tuple[LongLine, ...]:
        """Return the long lines of the text, whose end is reached."""
        self._note(self._at)
        return tuple(self._found)

    def _note(self, end: int) -> None:
        length = end - self._line_start
        if length > self._limit:
            self._found.append(LongLine(self._line_start, length))
