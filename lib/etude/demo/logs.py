"""Write the listening log as one file per month, with faulty rows among the valid ones.

`plays/plays-YYYY-MM.csv` (or .tsv, .parquet): user_id, track_id, played_at (UTC, 2025-03-01T17:05:12Z), play_count.
The rows of a chunk are ordered by time. A large corpus has many chunks, so its files are not ordered as a whole.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from etude.config.demo import DemoSettings
from etude.demo.faults import Rows, counts, spoil
from etude.demo.latent import generator
from etude.demo.listens import DAY_S, Plays
from etude.demo.names import track_ids, user_ids

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("track_id", pa.string()),
        ("played_at", pa.timestamp("us", "UTC")),
        ("play_count", pa.int64()),
    ]
)
"""Columns of the log, and their types in Parquet."""


class LogWriter:
    """Append chunks of plays to the files of their months, and count planted faults; a context manager."""

    def __init__(self, folder: Path, settings: DemoSettings):
        folder.mkdir(parents=True, exist_ok=True)
        self.planted: Counter[str] = Counter()
        self.good_rows = 0
        self._settings = settings
        self._separator = "\t" if settings.log_format == "tsv" else ","
        self._users = user_ids(settings.users).cast(pa.binary())
        self._tracks = track_ids(settings.tracks).cast(pa.binary())
        year = settings.calendar_year
        days = np.arange(f"{year}-01-01", f"{year + 1}-01-01", dtype="datetime64[D]")
        self._first_day = int(days[0].astype(np.int64))
        self._month_of_day = days.astype("datetime64[M]").astype(np.int64) % 12
        self._day_texts = pa.array([f"{day}T".encode() for day in days])
        clock = np.datetime_as_string(np.arange(DAY_S).astype("datetime64[s]"), unit="s")
        self._clock_texts = pa.array([f"{text[11:]}Z".encode() for text in clock])
        self._files = [
            _month_file(folder / f"plays-{year}-{month:02d}.{settings.log_format}", self._separator)
            for month in range(1, 13)
        ]

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def write(self, plays: Plays, chunk: int) -> None:
        """Append a chunk, with faulty rows next to the valid rows from which they are made."""
        rng = generator(self._settings.seed, "faults", chunk)
        good = self._texts(plays)
        pieces, sources = [good], [np.arange(len(plays.user))]
        for kind, count in counts(self._settings, len(plays.user), first=chunk == 0).items():
            source = rng.choice(len(plays.user), count, replace=False)
            pieces.append(spoil(good, kind, source, self._separator))
            sources.append(source)
            self.planted[kind] += count
        rows = {name: pa.concat_arrays([piece[name] for piece in pieces]) for name in SCHEMA.names}
        self._append(rows, np.concatenate(sources), plays.played_at)
        self.good_rows += len(plays.user)

    def _append(self, rows: Rows, source: NDArray, played_at: NDArray) -> None:
        """Append every row to the file of its valid row's month."""
        order = np.argsort(source, kind="stable")
        month = self._month_of_day[played_at[source[order]] // DAY_S - self._first_day]
        for number, file in enumerate(self._files):
            chosen = pa.array(order[month == number])
            if len(chosen):
                file.append({name: column.take(chosen) for name, column in rows.items()})

    def _texts(self, plays: Plays) -> Rows:
        day, second = np.divmod(plays.played_at, DAY_S)
        day_texts = self._day_texts.take(pa.array(day - self._first_day))
        return {
            "user_id": self._users.take(pa.array(plays.user)),
            "track_id": self._tracks.take(pa.array(plays.track)),
            "played_at": pc.binary_join_element_wise(day_texts, self._clock_texts.take(pa.array(second)), b""),
            "play_count": pa.array(plays.play_count).cast(pa.string()).cast(pa.binary()),
        }


class _TextFile:
    """Write delimited text with a header; no field needs quotes."""

    def __init__(self, path: Path, separator: str):
        self._separator = separator.encode()
        self._file = path.open("wb")
        self._file.write(self._separator.join(name.encode() for name in SCHEMA.names) + b"\n")

    def append(self, rows: Rows) -> None:
        fields = [rows[name] for name in SCHEMA.names]
        lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*fields, self._separator), b"", b"\n")
        self._file.write(lines.buffers()[2])  # the texts of an array are contiguous

    def close(self) -> None:
        self._file.close()


class _ParquetFile:
    """Write typed columns, one row group per chunk."""

    def __init__(self, path: Path):
        self._writer = parquet.ParquetWriter(path, SCHEMA)

    def append(self, rows: Rows) -> None:
        texts = [rows[name].cast(pa.string()) for name in SCHEMA.names]
        columns = [text.cast(field.type) for text, field in zip(texts, SCHEMA, strict=True)]
        self._writer.write_table(pa.table(columns, schema=SCHEMA))

    def close(self) -> None:
        self._writer.close()


def _month_file(path: Path, separator: str) -> _TextFile | _ParquetFile:
    return _ParquetFile(path) if path.suffix == ".parquet" else _TextFile(path, separator)
