"""Inspect files on executors, one at a time: what they hold, their layout, and lines that are too long.

A file is streamed once for its content hash. Only its beginning is held in memory.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from etude import storage
from etude.listening import contents
from etude.listening.formats import FileFormat
from etude.listening.layout import Layout, delimited_layout, json_layout, parquet_layout
from etude.listening.lines import MARK, LineMeter, LongLine

_CHUNK = 8 << 20
_HEAD = 256 << 10
READ_ERRORS = (ValueError, OSError, EOFError, csv.Error, pa.ArrowException)
"""Errors that reading a mislabelled or damaged file may raise."""


@dataclass(frozen=True)
class Look:
    """Hold an executor's findings about one file; `problem` says why it can't be read."""

    uri: str
    content: str
    """Hash of all bytes, 64 hex characters: SHA-256, or HMAC-SHA256 if a user key is set."""
    layout: Layout = field(default_factory=Layout)
    long_lines: tuple[LongLine, ...] = ()
    """Lines of more than `FileFormat.max_record_bytes`, which Spark doesn't read; empty if lines aren't records."""
    problem: str | None = None


def look_at(uri: str, form: FileFormat, key: bytes | None) -> Look:
    """Hash a file's bytes, find its layout, and measure its lines.

    With a key the hash is an HMAC: otherwise the content of a small file, user ids included, could be guessed from its
    hash.
    """
    meter = LineMeter(form.max_record_bytes)
    packed = contents.is_compressed(storage.filesystem(uri)[1])
    digest = content_hash(uri, key, None if packed else meter)
    try:
        layout = find_layout(uri, form)
        if packed and form.of_lines:
            _measure(uri, meter)
        return Look(uri, digest, layout, meter.finish() if form.of_lines else ())
    except READ_ERRORS as error:
        return Look(uri, digest, problem=str(error).splitlines()[0][:300])


def content_hash(uri: str, key: bytes | None, meter: LineMeter | None = None) -> str:
    """Hash a file's bytes in a stream, so that its size doesn't matter; `meter` is fed the same bytes."""
    system, path = storage.filesystem(uri)
    digest = hashlib.sha256() if key is None else hmac.new(key, digestmod=hashlib.sha256)
    with system.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            if meter is not None:
                meter.feed(chunk)
    return digest.hexdigest()


def _measure(uri: str, meter: LineMeter) -> None:
    """Measure the lines of a compressed text file.

    Raises:
        ValueError: it can't be decompressed to its end.
    """
    system, path = storage.filesystem(uri)
    try:
        with system.open_input_stream(path) as stream:
            while chunk := stream.read(_CHUNK):
                meter.feed(chunk)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"the file is truncated or damaged; replace it ({str(error).splitlines()[0]})") from error


def find_layout(uri: str, form: FileFormat) -> Layout:
    """Find the layout of one file.

    Raises:
        ValueError: the file's content doesn't match its name or the settings; the message says what was found.
    """
    system, path = storage.filesystem(uri)
    with system.open_input_stream(path, compression=None) as stream:
        contents.refuse(stream.read(contents.HEAD), path, form.kind)
    if form.kind == "parquet":
        with system.open_input_file(path) as file:
            return parquet_layout(pq.ParquetFile(file))
    with system.open_input_stream(path) as stream:  # decompressed according to the suffix
        head = stream.read(_HEAD)
    contents.refuse_archive(head)
    contents.refuse_encoding(head, form.encoding)
    text = head.removeprefix(MARK).decode(form.encoding, errors="replace")
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # the last line may be incomplete
    return json_layout(lines) if form.kind == "json" else delimited_layout(lines, text, form)
