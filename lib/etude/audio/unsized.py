"""State the size of the samples in a file whose recorder was cut off before it wrote the size."""

from __future__ import annotations

import io
import re
from typing import BinaryIO, Literal

# The header and the tags in front of the samples.
_HEAD = 1 << 20

# The first bytes of a container -> the field with the size of the samples, if it holds a value of an empty file or of
# an endless one; and the order of its bytes.
_SIZES: dict[bytes, tuple[re.Pattern[bytes], Literal["big", "little"]]] = {
    b"RIFF": (re.compile(rb"data(\0{4})"), "little"),
    b"RIFX": (re.compile(rb"data(\0{4})"), "big"),
    b"RF64": (re.compile(rb"ds64.{12}(\0{8}|\xff{8})", re.DOTALL), "little"),
    b"FORM": (re.compile(rb"SSND(\0{4}|\0{3}\x08)"), "big"),
    b".snd": (re.compile(rb"\A\.snd.{4}(\0{4})", re.DOTALL), "big"),
    b"caff": (re.compile(rb"data(\0{8}|\0{7}\x04|\xff{8})"), "big"),
}


def true_header(stream: BinaryIO, _frames: int) -> tuple[bytes, int] | None:
    """Return a header that states the size of all that follows it, and the position of what follows.

    None means that the file is of another kind or states a size.
    """
    head = stream.read(_HEAD)
    if head[:4] not in _SIZES:
        return None
    field, order = _SIZES[head[:4]]
    found = field.search(head)
    if found is None:
        return None
    start, end = found.span(1)
    # A size up to the end of the file is enough where other fields lie in between: libsndfile reads no further.
    size = min(stream.seek(0, io.SEEK_END) - end, (1 << 8 * (end - start)) - 1)
    return head[:start] + size.to_bytes(end - start, order) + head[end:], len(head)
