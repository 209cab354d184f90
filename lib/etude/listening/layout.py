"""What a file looks like from its first lines: column names or their number, separator, and whether it lies.

These are plain functions over one file, run by executors: a file is streamed once for its content hash, and only its
beginning is held in memory.
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
from etude.listening.formats import FileFormat

_CHUNK = 8 << 20
_HEAD = 256 << 10
_SAMPLE_LINES = 100
_DELIMITERS = "\t,;|"
_SUFFIX_OF_MAGIC = {
    b"\x1f\x8b": (".gz", "gzip"),
    b"BZh": (".bz2", "bzip2"),
    b"\x28\xb5\x2f\xfd": (".zst", "zstandard"),
}
READ_ERRORS = (ValueError, OSError, EOFError, csv.Error, pa.ArrowException)
"""What reading a file that isn't what it claims to be may raise."""


@dataclass(frozen=True)
class Layout:
    """The columns of a file: their names (empty where it has none), number, types (Parquet), separator and header."""

    names: tuple[str, ...] = ()
    width: int = 0
    types: tuple[str, ...] = ()
    delimiter: str = ","
    quote: str = '"'
    ragged: bool = False
    header: str | None = None
    """The line of column names as it stands in the file."""


@dataclass(frozen=True)
class Look:
    """One file as an executor saw it; `problem` says why it can't be read."""

    uri: str
    content: str
    """Hash of all bytes, 64 hex characters: SHA-256, under the user key HMAC-SHA256."""
    layout: Layout = Layout()
    problem: str | None = None


def look_at(uri: str, form: FileFormat, key: bytes | None) -> Look:
    """Read a file once: hash its bytes and find its layout.

    With a key the hash is an HMAC: a file of a few events could otherwise be guessed from its hash, user ids and all.
    """
    digest = content_hash(uri, key)
    try:
        return Look(uri, digest, find_layout(uri, form))
    except READ_ERRORS as error:
        return Look(uri, digest, problem=str(error).splitlines()[0][:300])


def content_hash(uri: str, key: bytes | None) -> str:
    """Hash of a file's bytes in a stream, however large the file is."""
    system, path = storage.filesystem(uri)
    digest = hashlib.sha256() if key is None else hmac.new(key, digestmod=hashlib.sha256)
    with system.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find_layout(uri: str, form: FileFormat) -> Layout:
    """The layout of one file.

    Raises:
        ValueError: the file isn't what its name or the settings say; the text says what it is.
    """
    system, path = storage.filesystem(uri)
    with system.open_input_stream(path, compression=None) as stream:
        _refuse_disguises(stream.read(4), path, form)
    if form.kind == "parquet":
        with system.open_input_file(path) as file:
            schema = pq.read_schema(file)
        return Layout(tuple(schema.names), len(schema.names), tuple(str(kind) for kind in schema.types))
    with system.open_input_stream(path) as stream:  # unpacked as the name's suffix says
        head = stream.read(_HEAD)
    text = head.decode("utf-8-sig" if form.encoding == "utf-8" else form.encoding, errors="replace")
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # cut off in the middle
    return _json_layout(lines) if form.kind == "json" else _delimited_layout(lines, text, form)


def _refuse_disguises(magic: bytes, path: str, form: FileFormat) -> None:
    if magic == b"PAR1" and form.kind != "parquet":
        raise ValueError("this is a Parquet file: set the format to parquet")
    if magic != b"PAR1" and form.kind == "parquet":
        raise ValueError("this is not a Parquet file")
    if magic == b"PK\x03\x04":
        raise ValueError("this is a zip archive: unpack it first")
    if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("this is UTF-16 text: convert it to UTF-8 first")
    for start, (suffix, name) in _SUFFIX_OF_MAGIC.items():
        if magic.startswith(start) and not path.endswith(suffix):
            raise ValueError(f"this is {name}-compressed, but its name doesn't end in {suffix}")


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
    """Records of texts that are parsed each on its own: an unclosed quote swallows no more than its own line."""
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
