"""Infer a file's layout from its first lines or its schema: column names or their number, types, separator."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from etude.listening.formats import FileFormat
from etude.listening.types import is_time, json_type, parquet_types

_SAMPLE_LINES = 100
_DELIMITERS = "\t,;|"
_NOT_IN_SPARK = {"BROTLI", "LZO"}
_TIME = re.compile(r"\s*(\d{4}-\d{1,2}-\d{1,2}([T ]|$)|\d{1,2}[./-]\d{1,2}[./-]\d{4}([T ,]|$))")


@dataclass(frozen=True)
class Layout:
    """Describe the columns of a file: names (empty if there are none), number, types, separator, header."""

    names: tuple[str, ...] = ()
    width: int = 0
    types: tuple[str, ...] = ()
    """Types of Parquet's columns and JSON's keys (etude.listening.types); empty for delimited files."""
    times: tuple[str, ...] = ()
    """Columns that hold times, as far as their types or the first lines tell."""
    delimiter: str = ","
    quote: str = '"'
    ragged: bool = False
    header: str | None = None
    """The unmodified line of column names."""
    partitions: tuple[str, ...] = ()
    """Columns in the names of its folders: `date` for date=2026-01-31/part-0.parquet. They follow the file's own."""

    @property
    def columns(self) -> dict[int, str]:
        """Return the position of each column that has a name -> the name."""
        return dict(enumerate(self.names)) | {self.width + n: name for n, name in enumerate(self.partitions)}


def parquet_layout(file: pq.ParquetFile) -> Layout:
    """Return the layout of a Parquet file.

    Raises:
        ValueError: Spark can't decompress it.
    """
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    codecs = {group.column(n).compression for group in groups for n in range(group.num_columns)}
    if codecs & _NOT_IN_SPARK:
        name = min(codecs & _NOT_IN_SPARK).lower()
        raise ValueError(
            f"its columns are {name}-compressed, which Spark can't read: write it again with zstd or snappy"
        )
    names, types = tuple(file.schema_arrow.names), parquet_types(file)
    times = tuple(name for name, kind in zip(names, types, strict=True) if is_time(kind))
    return Layout(names, len(names), types, times)


def delimited_layout(lines: Sequence[str], text: str, form: FileFormat) -> Layout:
    """Return the layout of a delimited file from its first lines; width 0 if all are blank.

    Args:
        lines: its first lines that aren't blank.
        text: its beginning, from which records of several lines are read.
        form: the format; its separator and quote character are inferred if they are None.
    """
    sample = [text] if form.multi_line else list(lines[:_SAMPLE_LINES])
    delimiter = form.delimiter or _delimiter(sample)
    quote = _quote(sample, delimiter) if form.quote is None else form.quote
    rows = _records(sample, delimiter, quote)
    if not rows:
        return Layout(delimiter=delimiter, quote=quote)
    if form.header:
        names = tuple(name.strip() for name in rows[0])
        values = {name: [row[n] for row in rows[1:] if len(row) == len(names)] for n, name in enumerate(names)}
        layout = Layout(names, len(names), (), _times(values), delimiter, quote, form.ragged, lines[0])
    else:
        widths = [len(row) for row in rows]
        width = form.width or Counter(widths).most_common(1)[0][0]
        if form.ragged:
            width = max([form.width or 0, *widths])
        layout = Layout((), width, delimiter=delimiter, quote=quote, ragged=form.ragged)
    return layout


def _delimiter(sample: Sequence[str]) -> str:
    """Return the separator that gives most records the same number of columns; of several, the most columns."""

    def evenness(delimiter: str) -> tuple[float, int]:
        widths = Counter(len(row) for row in _records(sample, delimiter, "" if delimiter == "\t" else '"'))
        width, times = widths.most_common(1)[0] if widths else (1, 0)
        return (times / widths.total(), width) if width > 1 else (0.0, 1)

    return max(_DELIMITERS, key=evenness)


def _quote(sample: Sequence[str], delimiter: str) -> str:
    """Return the quote character: tabs come without one, unless some column has quotes in all its cells."""
    if delimiter != "\t":
        return '"'
    columns = defaultdict(list)
    for row in _records(sample, delimiter, ""):
        for n, cell in enumerate(row):
            if cell.strip():
                columns[n].append(cell.strip())
    quoted = (all(re.fullmatch(r'".*"', cell) for cell in cells) and len(cells) > 1 for cells in columns.values())
    return '"' if any(quoted) else ""


def _records(sample: Iterable[str], delimiter: str, quote: str) -> list[list[str]]:
    """Parse texts, each separately, so that an unclosed quote consumes only its own text."""
    return [row for row, _ in zip(_parsed(sample, delimiter, quote), range(_SAMPLE_LINES), strict=False) if row]


def _parsed(sample: Iterable[str], delimiter: str, quote: str) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)  # the texts are short already
    for text in sample:
        source = io.StringIO(text, newline="")
        if quote:
            yield from csv.reader(source, delimiter=delimiter, quotechar=quote, skipinitialspace=True)
        else:
            yield from csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def json_layout(lines: Sequence[str]) -> Layout:
    """Return the layout of a file with a JSON object per line: the keys of its first lines.

    Raises:
        ValueError: it is a JSON array, or an object that takes several lines.
    """
    start = lines[0].lstrip() if lines else ""
    if start.startswith("[") or start.rstrip() == "{":
        found = "an array" if start.startswith("[") else "an object over several lines"
        raise ValueError(f"this is {found} in JSON; expected an object per line: write it as JSON lines (jq -c '.[]')")
    values: dict[str, list[object]] = {}
    for line in lines[:_SAMPLE_LINES]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            for key, value in record.items():
                values.setdefault(key, []).append(value)
    types = tuple(json_type(found) for found in values.values())
    return Layout(tuple(values), len(values), types, _times(values))


def _times(values: dict[str, list[str]] | dict[str, list[object]]) -> tuple[str, ...]:
    """Return the columns whose values all look like dates or times."""
    texts = {name: [str(cell) for cell in cells if cell not in (None, "")] for name, cells in values.items()}
    return tuple(name for name, cells in texts.items() if cells and all(map(_TIME.match, cells)))
