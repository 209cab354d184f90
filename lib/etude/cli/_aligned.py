"""Format rows for a terminal, as CSV or as JSON lines."""

from __future__ import annotations

import csv
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO


def text_of(value: Any) -> str:
    """Return a value as one line of text: null as an empty text, times to the second."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    # Line breaks in titles would break the table; control characters would reach the terminal.
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in str(value))


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]], widest: int = 60) -> str:
    """Return a table with a heading; numbers are aligned right, texts longer than `widest` characters are cut."""
    texts = [[_cut(text_of(value), widest) for value in row] for row in rows]
    right = [_numeric(row[i] for row in rows) for i in range(len(columns))]
    widths = [max(_width(text) for text in (columns[i], *(row[i] for row in texts))) for i in range(len(columns))]
    ruler = ["-" * width for width in widths]
    lines = [columns, ruler, *texts]
    return "\n".join(
        "  ".join(
            _pad(cell, width, is_right) for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO | None = None) -> None:
    """Write comma-separated values with a heading, to standard output if `out` is None; lists and maps as JSON."""
    writer = csv.writer(out or sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([json.dumps(v, default=str) if isinstance(v, list | dict | tuple) else v for v in row])


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO | None = None) -> None:
    """Write one JSON object per line, to standard output if `out` is None."""
    for row in rows:
        line = json.dumps(dict(zip(columns, row, strict=True)), default=str, ensure_ascii=False)
        print(line, file=out or sys.stdout)


def _numeric(values: Iterable[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 1] + "…"
