"""Compare two lakes: keys and counts exactly, floats to 1e-5 of the row's norm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from etude.lake.tables import TABLES

# Run times and file URIs differ between any two runs.
_NOT_COMPARED = {"since", "started_at", "ended_at", "taken_at", "audio_uri", "file_mtime"}
_TIMES = ["rows_per_s", "input_wait_share"]
FITTED = ["splits", "user_factors", "track_factors"]
"""Tables that wmf writes."""


def assert_equal(
    found: Path, wanted: Path, tables: Sequence[str], runs: tuple[str, str] | None = None, within: float = 1e-5
) -> None:
    """Raise AssertionError with the table and column that differ.

    `runs` names a run in each lake; then only their rows are compared. Rows of numbers may differ by `within` of their
    norm.
    """
    for table in tables:
        left, right = pl.read_delta(str(found / table)), pl.read_delta(str(wanted / table))
        if runs is not None:
            left = left.filter(pl.col("run_id") == runs[0]).with_columns(run_id=pl.lit(runs[1]))
            right = right.filter(pl.col("run_id") == runs[1])
        _assert_table(table, left, right, within)


def _assert_table(name: str, found: pl.DataFrame, wanted: pl.DataFrame, within: float) -> None:
    key = list(TABLES[name].key)
    assert found.height == wanted.height, f"{name}: {found.height} rows, expected {wanted.height}"
    assert wanted.height > 0, f"{name}: empty"
    found, wanted = found.sort(key), wanted.sort(key)
    if name == "metrics":
        is_time = pl.col("metric").is_in(_TIMES)
        found, wanted = (
            rows.with_columns(value=pl.when(~is_time).then("value").otherwise(0.0)) for rows in (found, wanted)
        )
    for column in TABLES[name].columns:
        if column.name in _NOT_COMPARED:
            continue
        left, right = found[column.name], wanted[column.name]
        if column.type in ("array<float>", "float", "double"):
            if left.dtype == pl.List:
                assert left.list.len().equals(right.list.len()), f"{name}.{column.name}: arrays of other lengths"
            _assert_close(f"{name}.{column.name}", _rows(left), _rows(right), within)
        else:
            assert left.equals(right), f"{name}.{column.name} differs"


def _rows(column: pl.Series) -> np.ndarray:
    """Return one row of numbers per row of the column; pad arrays with zeros, treat null as an empty array."""
    if column.dtype == pl.List:
        rows = [np.array(row or [], dtype=np.float64) for row in column.to_list()]
        width = max(map(len, rows))
        return np.stack([np.pad(row, (0, width - len(row))) for row in rows])
    return column.to_numpy().astype(np.float64).reshape(-1, 1)


def _assert_close(name: str, found: np.ndarray, wanted: np.ndarray, within: float) -> None:
    error = np.linalg.norm(found - wanted, axis=1)
    limit = within * np.maximum(np.linalg.norm(wanted, axis=1), 1e-6)
    assert (error <= limit).all(), f"{name}: {int((error > limit).sum())} rows differ, worst {error.max():.3g}"
