"""Keep the factors of an iteration as Parquet files, written by every rank: a fit goes on from the newest."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etude import storage
from etude.errors import EtudeError
from etude.vectors import Factors

_COMPLETE, _TOLD = "complete", "told"


class Newest(NamedTuple):
    """Hold the last complete iteration: its number, the attempt that wrote it, and (iteration, loss) until then."""

    iteration: int
    attempt: str
    losses: list[tuple[int, float]]


NOTHING = Newest(0, "", [])


class ReplacedError(Exception):
    """Tell that an iteration has gone, so that a fit must go on from another one."""


def _folder_name(iteration: int, attempt: str) -> str:
    return f"{iteration}-{attempt}"


class _Iteration(NamedTuple):
    iteration: int
    attempt: str
    complete: bool

    @property
    def folder(self) -> str:
        return _folder_name(self.iteration, self.attempt)


@dataclass(frozen=True)
class Kept:
    """Hold the folder of fits, and the name of this fit's folder in it.

    That has a folder `<iteration>-<attempt>` for what an attempt at the fit has kept, with one for each side. So what a
    rank of an attempt that failed still writes is never among the files of another. The name of a file gives its first
    row on the axis, and the row after its last.
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

    def remove_unfinished(self) -> None:
        """Remove the iterations that attempts have begun to keep and won't end. No other attempt may be at work."""
        for found in self._iterations():
            if not found.complete:
                storage.delete(storage.join(self.uri, found.folder))

    def write(self, iteration: int, attempt: str, side: str, rows: slice, pieces: Iterable[Factors]) -> None:
        """Write some rows of a side, a row group per piece: so only one piece is copied at a time."""
        column = f"{side}_idx"
        schema = pa.schema([(column, pa.int32()), ("factors", pa.list_(pa.float32()))])
        file = storage.join(
            self.uri, _folder_name(iteration, attempt), side, f"{rows.start:012d}-{rows.stop:012d}.parquet"
        )
        with (
            storage.writing(file) as stream,
            pq.ParquetWriter(stream, schema, compression="none", use_dictionary=False) as writer,
        ):
            for piece in pieces:
                writer.write_table(piece.to_table(column))

    def complete(self, iteration: int, attempt: str, losses: list[tuple[int, float]]) -> None:
        """Declare an iteration complete, and remove those before it. All ranks must have written their rows.

        The complete one before it stays, since an attempt may just be starting from it. So does what isn't complete:
        the ranks of another attempt may be writing it, if this one is thought dead.
        """
        done = storage.join(self.uri, _folder_name(iteration, attempt), _COMPLETE)
        storage.write_bytes(done, json.dumps(losses).encode())
        earlier = [found for found in self._iterations() if found.complete and found.iteration < iteration]
        for found in earlier[:-1]:
            storage.delete(storage.join(self.uri, found.folder))

    def tell(self, iteration: int) -> None:
        """Tell the driver that an iteration has ended; a store that doesn't answer costs a line of progress only."""
        with suppress(OSError):
            storage.write_bytes(storage.join(self.uri, _TOLD), str(iteration).encode())

    def told(self) -> int:
        """Return the last iteration that was told; 0 if there is none, or it can't be read now."""
        with suppress(OSError, ValueError):
            return int(storage.read_bytes(storage.join(self.uri, _TOLD)))
        return 0

    def newest(self) -> Newest:
        """Return the last iteration that is complete; NOTHING if there is none."""
        for found in reversed(self._iterations()):
            if found.complete:
                done = storage.join(self.uri, found.folder, _COMPLETE)
                losses = [(step, loss) for step, loss in json.loads(storage.read_bytes(done))]
                return Newest(found.iteration, found.attempt, losses)
        return NOTHING

    def _iterations(self) -> list[_Iteration]:
        """Return what lies there, ascending."""
        names = (name.partition("-") for name in storage.list_folders(self.uri))
        return [
            _Iteration(
                number, attempt, storage.exists(storage.join(self.uri, _folder_name(number, attempt), _COMPLETE))
            )
            for number, attempt in sorted((int(number), attempt) for number, _, attempt in names)
        ]

    def check(self, newest: Newest, side: str, size: int) -> None:
        """Check that the files of a side hold all its rows, by their names.

        Raises:
            EtudeError: they don't.
        """
        spans = [(first, end) for _, first, end in self._files(newest, side)]
        if [first for first, _ in spans] != [0, *(end for _, end in spans[:-1])] or spans[-1][1] != size:
            raise EtudeError(
                f"iteration {newest.iteration} of the fit lacks rows of {side}s: files hold {spans}, expected all of "
                f"{size}; was another run of this run_id at work? Run it again"
            )

    def read(self, newest: Newest, side: str, rows: slice) -> np.ndarray:
        """Return the factors of some rows of a side, whichever ranks wrote them: (rows, rank) float32.

        Raises:
            ReplacedError: ranks of an earlier attempt, thought dead, have replaced the iteration by later ones.
        """
        pieces = []
        try:
            for file, first, end in self._files(newest, side):
                if first < rows.stop and end > rows.start:
                    table = pq.read_table(io.BytesIO(storage.read_bytes(file)))
                    values = Factors.from_table(table, f"{side}_idx").values
                    pieces.append(values[max(0, rows.start - first) : rows.stop - first])
        except FileNotFoundError as error:
            raise ReplacedError(f"iteration {newest.iteration} of the fit is gone") from error
        if sum(map(len, pieces)) != rows.stop - rows.start:
            raise ReplacedError(f"iteration {newest.iteration} of the fit lacks rows of {side}s")
        return np.concatenate(pieces)

    def _files(self, newest: Newest, side: str) -> list[tuple[str, int, int]]:
        """Return the files of a side, ascending, with their first rows and the ends."""
        files = storage.list_files(self.folder(newest, side))
        spans = (posixpath.basename(file).partition(".")[0].split("-") for file in files)
        return [(file, int(first), int(end)) for file, (first, end) in zip(files, spans, strict=True)]

    def folder(self, newest: Newest, side: str) -> str:
        """Return the URI of a side's files: `{side}_idx` and factors."""
        return storage.join(self.uri, _folder_name(newest.iteration, newest.attempt), side)
