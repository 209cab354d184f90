"""Keep the factors of an iteration as Parquet files, written by every rank: a fit goes on from the newest."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etude import storage
from etude.vectors import Factors

_COMPLETE, _TOLD = "complete", "told"


class Newest(NamedTuple):
    """Hold the last complete iteration: its number, the attempt that wrote it, and (iteration, loss) until then."""

    iteration: int
    attempt: str
    losses: list[tuple[int, float]]


NOTHING = Newest(0, "", [])


@dataclass(frozen=True)
class Kept:
    """Hold the folder of fits, and the name of this fit's folder in it.

    That has a folder `<iteration>-<attempt>` for what an attempt at the fit has kept, with one for each side. So what a
    rank of an attempt that failed still writes is never among the files of another. The name of a file gives its first
    row on the axis.
    """

    parent: str
    name: str

    @property
    def uri(self) -> str:
        """Return the URI of the fit's folder."""
        return storage.join(self.parent, self.name)

    def remove_others(self) -> None:
        """Remove what other fits have left in the folder of fits."""
        for other in storage.list_folders(self.parent):
            if other != self.name:
                storage.delete(storage.join(self.parent, other))

    def write(self, iteration: int, attempt: str, side: str, first_row: int, pieces: Iterable[Factors]) -> None:
        """Write some rows of a side, a row group per piece: so only one piece is copied at a time."""
        column = f"{side}_idx"
        schema = pa.schema([(column, pa.int32()), ("factors", pa.list_(pa.float32()))])
        file = storage.join(self.uri, f"{iteration}-{attempt}", side, f"{first_row:012d}.parquet")
        with (
            storage.writing(file) as stream,
            pq.ParquetWriter(stream, schema, compression="none", use_dictionary=False) as writer,
        ):
            for piece in pieces:
                writer.write_table(piece.to_table(column))

    def complete(self, iteration: int, attempt: str, losses: list[tuple[int, float]]) -> None:
        """Declare an iteration complete, and remove the others. All ranks must have written their rows."""
        mine = f"{iteration}-{attempt}"
        storage.write_bytes(storage.join(self.uri, mine, _COMPLETE), json.dumps(losses).encode())
        for other in storage.list_folders(self.uri):
            if other != mine:
                storage.delete(storage.join(self.uri, other))

    def tell(self, iteration: int) -> None:
        """Tell the driver that an iteration has ended."""
        storage.write_bytes(storage.join(self.uri, _TOLD), str(iteration).encode())

    def told(self) -> int:
        """Return the last iteration that was told; 0 if there is none."""
        told = storage.join(self.uri, _TOLD)
        return int(storage.read_bytes(told)) if storage.exists(told) else 0

    def newest(self) -> Newest:
        """Return the last iteration that is complete; NOTHING if there is none."""
        names = (name.partition("-") for name in storage.list_folders(self.uri))
        for iteration, attempt in sorted(((int(number), attempt) for number, _, attempt in names), reverse=True):
            done = storage.join(self.uri, f"{iteration}-{attempt}", _COMPLETE)
            if storage.exists(done):
                losses = [(step, loss) for step, loss in json.loads(storage.read_bytes(done))]
                return Newest(iteration, attempt, losses)
        return NOTHING

    def read(self, newest: Newest, side: str, rows: slice) -> np.ndarray:
        """Return the factors of some rows of a side, whichever ranks wrote them: (rows, rank) float32."""
        files = storage.list_files(self.folder(newest, side))
        firsts = [int(posixpath.basename(file).partition(".")[0]) for file in files]
        pieces = []
        for file, first, end in zip(files, firsts, [*firsts[1:], rows.stop], strict=True):
            if first < rows.stop and max(end, first + 1) > rows.start:
                table = pq.read_table(io.BytesIO(storage.read_bytes(file)))
                values = Factors.from_table(table, f"{side}_idx").values
                pieces.append(values[max(0, rows.start - first) : rows.stop - first])
        return np.concatenate(pieces)

    def folder(self, newest: Newest, side: str) -> str:
        """Return the URI of a side's files: `{side}_idx` and factors."""
        return storage.join(self.uri, f"{newest.iteration}-{newest.attempt}", side)
