"""Keep the factors of an iteration as Parquet files, written by every rank: a fit goes on from the newest."""

from __future__ import annotations

import io
import json
import posixpath
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from etude import storage
from etude.vectors import Factors

_COMPLETE, _TOLD = "complete", "told"


@dataclass(frozen=True)
class Kept:
    """Hold the folder of fits, and the name of this fit's folder in it.

    That has a folder for each iteration kept, with one for each side. The name of a file gives its first row on the
    axis.
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

    def write(self, iteration: int, side: str, first_row: int, rows: Factors) -> None:
        """Write some rows of a side."""
        buffer = io.BytesIO()
        pq.write_table(rows.to_table(f"{side}_idx"), buffer, compression="none", use_dictionary=False)
        storage.write_bytes(storage.join(self.folder(iteration, side), f"{first_row:012d}.parquet"), buffer.getvalue())

    def complete(self, iteration: int, losses: list[tuple[int, float]]) -> None:
        """Declare an iteration complete, and remove the others. All ranks must have written their rows."""
        storage.write_bytes(storage.join(self.uri, f"{iteration}", _COMPLETE), json.dumps(losses).encode())
        for other in self._iterations():
            if other != iteration:
                storage.delete(storage.join(self.uri, f"{other}"))

    def tell(self, iteration: int) -> None:
        """Tell the driver that an iteration has ended."""
        storage.write_bytes(storage.join(self.uri, _TOLD), str(iteration).encode())

    def told(self) -> int:
        """Return the last iteration that was told; 0 if there is none."""
        told = storage.join(self.uri, _TOLD)
        return int(storage.read_bytes(told)) if storage.exists(told) else 0

    def newest(self) -> tuple[int, list[tuple[int, float]]]:
        """Return the last iteration that is complete, and the losses until then; 0 and none if there is none."""
        for iteration in sorted(self._iterations(), reverse=True):
            done = storage.join(self.uri, f"{iteration}", _COMPLETE)
            if storage.exists(done):
                return iteration, [(step, loss) for step, loss in json.loads(storage.read_bytes(done))]
        return 0, []

    def read(self, iteration: int, side: str, rows: slice) -> np.ndarray:
        """Return the factors of some rows of a side, whichever ranks wrote them: (rows, rank) float32."""
        files = storage.list_files(self.folder(iteration, side))
        firsts = [int(posixpath.basename(file).partition(".")[0]) for file in files]
        pieces = []
        for file, first, end in zip(files, firsts, [*firsts[1:], rows.stop], strict=True):
            if first < rows.stop and max(end, first + 1) > rows.start:
                table = pq.read_table(io.BytesIO(storage.read_bytes(file)))
                values = Factors.from_table(table, f"{side}_idx").values
                pieces.append(values[max(0, rows.start - first) : rows.stop - first])
        return np.concatenate(pieces)

    def folder(self, iteration: int, side: str) -> str:
        """Return the URI of a side's files: `{side}_idx` and factors."""
        return storage.join(self.uri, f"{iteration}", side)

    def _iterations(self) -> set[int]:
        return {int(name) for name in storage.list_folders(self.uri) if name.isdigit()}
