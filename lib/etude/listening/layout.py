"""Infer a file's layout from its first lines: column names or their number, and separator; detect mislabelled files.

Executors run these functions, one file at a time. They stream the file once for its content hash, and hold only its
beginning in memory.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from etude import storage
from etude.listening import contents
from etude.listening.formats import FileFormat

_CHUNK = 8 << 20
_HEAD = 256 << 10
_SAMPLE_LINES = 100
_DELIMITERS = "\t,;|"
_NOT_IN_SPARK = {"BROTLI", "LZO"}
READ_ERRORS = (ValueError, OSError, EOFError, csv.Error, pa.ArrowException)
"""Errors that reading a mislabelled or damaged file may raise."""


@dataclass(frozen=True)
class Layout:
    """Describe the columns of a file: names (empty if there are none), number, types (Parquet), separator, header."""

    names: tuple[str, ...] = ()
    width: int = 0
    types: tuple[str, ...] = ()
    delimiter: str = ","
    quote: str = '"'
    ragged: bool = False
    header: str | None = None
    """The unmodified line of column names."""


@dataclass(frozen=True)
class Look:
    """Hold an executor's findings about one file; `problem` says why it can't be read."""

    uri: str
    content: str
    """Hash of all bytes, 64 hex characters: SHA-256, or HMAC-SHA256 if a user key is set."""
    layout: Layout = Layout()
    problem: str | None = None


def look_at(uri: str, form: FileFormat, key: bytes | None) -> Look:
    """Hash a file's bytes and find its layout.

    With a key the hash is an HMAC: otherwise the content of a small file, user ids included, could be guessed from its
    hash.
    """
    digest = content_hash(uri, key)
    try:
        return Look(uri, digest, find_layout(uri, form))
    except READ_ERRORS as error:
        return Look(uri, digest, problem=str(error).splitlines()[0][:300])


def content_hash(uri: str, key: bytes | None) -> str:
    """Hash a file's bytes in a stream, so that its size doesn't matter."""
    system, path = storage.filesystem(uri)
    digest = hashlib.sha256() if key is None else hmac.new(key, digestmod=hashlib.sha256)
    with system.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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
            return _parquet_layout(pq.ParquetFile(file))
    with system.open_input_stream(path) as stream:  # decompressed according to the suffix
        head = stream.read(_HEAD)
    contents.refuse_archive(head)
    text = head.decode("utf-8-sig" if form.encoding == "utf-8" else form.encoding, errors="replace")
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # the last line may be incomplete
    return _json_layout(lines) if form.kind == "json" else _delimited_layout(lines, text, form)


def _parquet_layout(file: pq.ParquetFile) -> Layout:
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    codecs = {group.column(n).compression for group in groups for n in range(group.num_columns)}
    if codecs & _NOT_IN_SPARK:
        name = min(codecs & _NOT_IN_SPARK).lower()
        raise ValueError(
            f"its columns are {name}-compressed, which Spark can't read: write it again with zstd or snappy"
        )
    schema = file.schema_arrow
    return Layout(tuple(schema.names), len(schema.names), tuple(str(kind) for kind in schema.types))


def _delimited_layout(lines: list[str], text: str, form: FileFormat) -> Layout:
    first = lines[0] if lines else ""
    delimiter = form.delimiter or max(_DELIMITERS, key=first.count)
    quote = form.quote if form.quote is not None else ("" if delimiter == "\t" else '"')
    rows = _parsed([io.StringIO(text)] if form.multi_line else [[line] for line in lines], delimiter, quote)
    sample = [row for row, _ in zip(rows, range(_SAMPLE_LINES), strict=False) if row]
    if not sample:
        return Layout(delimiter=delimiter, quote=quote)
    if form.header:
        names = tuple(name.strip() for name in sample[0])
        return Layout(names, len(names), delimiter=delimiter, quote=quote, ragged=form.ragged, header=first)
    widths = [len(row) for row in sample]
    if form.ragged:
        return Layout((), max([form.width or 0, *widths]), delimiter=delimiter, quote=quote, ragged=True)
    width = form.width or Counter(widths).most_common(1)[0][0]
    return Layout((), width, delimiter=delimiter, quote=quote)


def _parsed(sources: Iterable[Iterable[str]], delimiter: str, quote: str) -> Iterator[list[str]]:
    """Yield the records of texts, parsing each separately so that an unclosed quote consumes only its own text."""
    for source in sources:
        if quote:
            yield from csv.reader(source, delimiter=delimiter, quotechar=quote)
        else:
            yield from csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def _json_layout(lines: list[str]) -> Layout:
    names: dict[str, None] = {}
    for line in lines[:_SAMPLE_LINES]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    return Layout(tuple(names), len(names))
