"""Decode character sets with one byte per character, of which Spark knows only ISO-8859-1."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

_BYTES = range(128, 256)


def read_as(text: Column, encoding: str) -> Column:
    """Return a text as its bytes read in another encoding.

    Args:
        text: the text, read as ISO-8859-1: each character is a byte.
        encoding: a character set with one byte per character (config.listening); bytes that it lacks become U+FFFD.
    """
    wanted = bytes(_BYTES).decode(encoding, "replace")
    found = bytes(_BYTES).decode("iso-8859-1")
    changed = [(there, here) for there, here in zip(found, wanted, strict=True) if there != here]
    if not changed:
        return text
    return F.translate(text, "".join(there for there, _ in changed), "".join(here for _, here in changed))
