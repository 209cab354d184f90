"""Recognise what a file is by its first bytes, and refuse what Spark would misread.

Spark chooses a decompressor by the end of a file's name. For some it has none, or expects a framing of Hadoop's own
and reads nothing from other files, without an error. Everything it doesn't recognise it reads as text.
"""

from __future__ import annotations

from etude.listening.lines import MARK

HEAD = 512
"""Bytes that `refuse` and `refuse_archive` need: the magic number of a tar archive ends at byte 262."""

_READ_BY_SUFFIX = {"gzip": (b"\x1f\x8b", ".gz"), "bzip2": (b"BZh", ".bz2")}
_COMPRESSED = {
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\xfd7zXZ\x00": "xz",
    b"LZIP\x01": "lzip",
    b"\x1f\x9d": "compress (.Z)",
}
_SUFFIXES = {".zst": "zstandard", ".lz4": "lz4", ".snappy": "snappy", ".deflate": "deflate"}
"""Ends of names for which Spark has no decompressor, or one that only Hadoop's own files fit."""
_OTHERS = {
    b"PK\x03\x04": "a zip archive (or an Excel workbook)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"ARROW1\x00\x00": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF\r\n": "an HDF5 file",
    b"%PDF-": "a PDF document",
}


def refuse(head: bytes, path: str, kind: str) -> None:
    """Refuse a file that isn't what its name and the settings say.

    Args:
        head: its first HEAD bytes, as stored.
        path: its path.
        kind: the format of the settings: delimited, json or parquet.

    Raises:
        ValueError: the message says what was found and what to do.
    """
    if head.startswith(b"PAR1") and kind != "parquet":
        raise ValueError(f"this is a Parquet file; expected {kind}: set the format to parquet")
    for start, name in _COMPRESSED.items():
        if head.startswith(start):
            raise ValueError(f"this file is {name}-compressed, which Spark can't read here: unpack it first")
    for start, name in _OTHERS.items():
        if head.startswith(start):
            raise ValueError(f"this is {name}; expected {kind}: unpack or export it first")
    if kind == "parquet":
        if not head.startswith(b"PAR1"):
            raise ValueError("this is not a Parquet file; expected Parquet: set the format to the file's own")
        return
    for name, (start, suffix) in _READ_BY_SUFFIX.items():
        if head.startswith(start) and _is_binary(head) and not path.endswith(suffix):
            raise ValueError(f"this file is {name}-compressed; expected a name that ends in {suffix}: rename it")
    for suffix, name in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            raise ValueError(
                f"its name ends in {suffix}: Spark would read it as {name}-compressed, and can't; unpack or rename it"
            )


def is_compressed(path: str) -> bool:
    """Return whether Spark and pyarrow decompress a file that `refuse` lets pass, as its suffix says."""
    return path.endswith(tuple(suffix for _, suffix in _READ_BY_SUFFIX.values()))


def refuse_archive(head: bytes) -> None:
    """Refuse a tar archive, of which Spark would read the members' headers as text.

    Args:
        head: the first HEAD bytes, decompressed.

    Raises:
        ValueError: it is one.
    """
    if head[257:262] == b"ustar":
        raise ValueError("this is a tar archive; expected a file of records: unpack it first")


def refuse_encoding(head: bytes, encoding: str) -> None:
    """Refuse text in another encoding than the settings say, as far as its beginning tells.

    Args:
        head: the first bytes, decompressed.
        encoding: the encoding of the settings.

    Raises:
        ValueError: it is UTF-16 or UTF-32, with or without a byte order mark, or UTF-8 with a mark and the settings
            say otherwise.
    """
    every_second = {head[start:8:2] for start in (0, 1)} if len(head) >= 8 else set()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or bytes(4) in every_second:
        raise ValueError(f"this is UTF-16 text; expected {encoding}: convert it to UTF-8 first")
    if head.startswith(MARK) and encoding != "utf-8":
        raise ValueError(f"this text has the mark of UTF-8; expected {encoding}: set encoding=utf-8")


def _is_binary(head: bytes) -> bool:
    """Tell compressed bytes from a text that happens to start like them."""
    return any(byte < 9 or byte > 126 for byte in head)
