"""Plant faults in the log: a faulty row is a valid row with one wrong field, or a repeated one, so it has one cause."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from etude.config.demo import DemoSettings

UNKNOWN_TRACKS = 20
"""Number of tracks that occur in the log but in no catalogue."""


@dataclass(frozen=True)
class Fault:
    """Describe one kind of faulty row."""

    column: str
    """The faulty column; empty for an exact repeat."""
    texts: tuple[bytes, ...] = ()
    """Replacement values, used in turn; `{sep}` is the field separator."""
    weight: int = 1
    """Relative frequency among the kinds."""
    reason: str | None = None
    """The reason for which ingest rejects the row; None: it is kept."""
    in_parquet: bool = True
    """Whether a typed file can hold it."""


FAULTS = {
    "duplicate": Fault("", weight=5, reason="duplicate"),
    "unknown_track": Fault("track_id", tuple(f"x{n:06d}".encode() for n in range(UNKNOWN_TRACKS)), weight=3),
    "bad_timestamp": Fault("played_at", (b"yesterday", b"31.02. at noon"), 2, "bad_timestamp", in_parquet=False),
    "impossible_date": Fault("played_at", (b"2025-13-41T25:61:00Z",), 1, "bad_timestamp", in_parquet=False),
    "future_date": Fault("played_at", (b"2999-12-31T23:59:59Z",), 2, "future_timestamp"),
    "negative_count": Fault("play_count", (b"-1", b"-2", b"-40"), 2, "negative_count"),
    "zero_count": Fault("play_count", (b"0",), 1, "zero_count"),
    "bad_count": Fault("play_count", (b"many", b"1x"), 1, "bad_count", in_parquet=False),
    "absurd_count": Fault("play_count", (b"987654321",), 1, "absurd_count"),
    "empty_user": Fault("user_id", (b"",), 1, "empty_user"),
    "empty_track": Fault("track_id", (b"",), 1, "empty_track"),
    "bad_encoding": Fault("user_id", (b"u\xff\xfe", b"\xc3\x28user"), 1, "encoding", in_parquet=False),
    "extra_field": Fault("play_count", (b"1{sep}left over",), 1, "wrong_columns", in_parquet=False),
}
"""Kinds of faulty rows. A row with an unknown track is valid and is kept."""

Rows = dict[str, pa.Array]
"""Column -> texts as bytes; all columns have the same length."""


def counts(settings: DemoSettings, rows: int, first: bool) -> dict[str, int]:
    """Return the number of rows per fault for `rows` valid ones; at least one in the first chunk if bad_rows > 0."""
    kinds = {kind: fault for kind, fault in FAULTS.items() if fault.in_parquet or settings.log_format != "parquet"}
    weights = sum(fault.weight for fault in kinds.values())
    least = 1 if first and settings.bad_rows > 0 else 0
    return {
        kind: min(rows, max(least, round(settings.bad_rows * rows * fault.weight / weights)))
        for kind, fault in kinds.items()
    }


def spoil(good: Rows, kind: str, source: np.ndarray, separator: str) -> Rows:
    """Copy the valid rows at `source` (int) and plant the fault `kind` in them."""
    fault = FAULTS[kind]
    rows = {name: column.take(pa.array(source)) for name, column in good.items()}
    if fault.column:
        texts = [text.replace(b"{sep}", separator.encode()) for text in fault.texts]
        turns = pa.array(np.arange(len(source)) % len(texts))
        rows[fault.column] = pa.array(texts, pa.binary()).take(turns)
    return rows


def refused(planted: dict[str, int]) -> dict[str, int]:
    """Return reason -> number of rows that ingest rejects, from the planted faults."""
    reasons: dict[str, int] = {}
    for kind, count in planted.items():
        reason = FAULTS[kind].reason
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + count
    return reasons
