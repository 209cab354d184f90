"""Run half sweeps on Spark: broadcast one side's factors, solve the other side's rows block by block, collect them.

Only factors are transferred. The driver computes their Gram matrix: for blocks of few rows, a matrix per block would be
larger than the factors. The result depends neither on the order of the tasks nor on their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pyspark import RDD, Broadcast
from threadpoolctl import threadpool_limits

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.blocks import Axis, Block
from etude.factors.fit import not_finite
from etude.factors.objective import gram, turned
from etude.factors.solve import Prior, improve, solve
from etude.worker import lean_worker


class Solved(NamedTuple):
    """Hold one block's result: first row, factors (rows, rank) float32, their part of the loss (0 if exact)."""

    start: int
    values: np.ndarray
    played_cells: float


@dataclass(frozen=True)
class HalfSweep:
    """Solve a task's blocks: exactly without `last`, otherwise improving the rows' factors in `last`.

    To improve them, `fixed` has the eigenbasis of its Gram matrix (see `objective.eigenbasis`); `turn` takes the rows'
    last factors there, and the prior is there already.
    """

    fixed: Broadcast[np.ndarray]
    gram: np.ndarray
    settings: WmfSettings
    last: Broadcast[np.ndarray] | None = None
    turn: np.ndarray | None = None
    prior: Broadcast[Prior] | None = None

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Solved]:
        """Solve the blocks of one partition in one thread."""
        fixed, prior = self.fixed.value, None if self.prior is None else self.prior.value
        lean_worker()
        with threadpool_limits(limits=1):
            for block in blocks:
                if self.last is None:
                    values, played = solve(block, fixed, self.gram, self.settings, prior), 0.0
                else:
                    last = self.last.value[block.rows]
                    last = last if self.turn is None else turned(last, self.turn)
                    values, played = improve(block, fixed, self.gram, last, self.settings, prior)
                yield Solved(block.start, values, played)


class Swept(NamedTuple):
    """Hold one side after a half sweep: factors (n, rank) float32, Gram matrix, played cells' part of the loss."""

    values: np.ndarray
    gram: np.ndarray
    played_cells: float


def run(half: HalfSweep, blocks: RDD[Block], axis: Axis, what: str) -> Swept:
    """Solve all rows of a side.

    Args:
        half: the work per block.
        blocks: the side's blocks.
        axis: the side's rows.
        what: name of the sweep for error messages, such as "iteration 3, users".

    Raises:
        DataCheckError: a factor is not finite, or blocks are missing.
    """
    values = np.empty((len(axis), half.settings.rank), dtype=np.float32)
    played, rows = 0.0, 0
    for solved in sorted(blocks.mapPartitions(half).collect(), key=lambda block: block[0]):
        piece = Solved(*solved)
        values[piece.start : piece.start + len(piece.values)] = piece.values
        played += piece.played_cells
        rows += len(piece.values)
    if rows != len(axis):
        raise DataCheckError(
            f"{what}: {rows:,} of {len(axis):,} rows were solved, expected all; did the input change? run again"
        )
    total_gram = gram(values)
    if not np.isfinite(total_gram).all():
        bad = int((~np.isfinite(values).all(axis=1)).sum())
        raise not_finite(what, bad, len(axis))
    return Swept(values, total_gram, played)
