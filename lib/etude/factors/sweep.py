"""Run half sweeps on Spark: broadcast one side's factors, solve the other side's rows block by block, collect them.

Only factors are transferred. The driver computes their Gram matrix: for blocks of few rows, a matrix per block would be
larger than the factors. The result depends neither on the order of the tasks nor on their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from pyspark import RDD, Broadcast
from pyspark.sql import DataFrame
from threadpoolctl import threadpool_limits

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.blocks import Axis, Block, build_blocks
from etude.factors.objective import extra_confidence, gram
from etude.factors.solve import Terms, improve, played_cells, solve
from etude.worker import lean_worker


class Solved(NamedTuple):
    """Hold one block's result: first row, factors (rows, rank) float32, played cells' part of the loss."""

    start: int
    values: np.ndarray
    played_cells: float


@dataclass(frozen=True)
class HalfSweep:
    """Solve a task's blocks: exactly without `last`, otherwise improving the rows' factors in `last`."""

    fixed: Broadcast[np.ndarray]
    gram: np.ndarray
    settings: WmfSettings
    last: Broadcast[np.ndarray] | None = None
    measure: bool = False
    terms: Broadcast[Terms] | None = None

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Solved]:
        """Solve the blocks of one partition in one thread."""
        fixed, terms = self.fixed.value, None if self.terms is None else self.terms.value
        lean_worker()
        with threadpool_limits(limits=1):
            for block in blocks:
                if self.last is None:
                    values = solve(block, fixed, self.gram, self.settings, terms)
                else:
                    last = self.last.value[block.rows]
                    values = improve(block, fixed, self.gram, last, self.settings, terms)
                loss = played_cells(block, fixed, values, terms) if self.measure else 0.0
                yield Solved(block.start, values, loss)


class Swept(NamedTuple):
    """Hold one side after a half sweep: factors (n, rank) float32, Gram matrix, played cells' part of the loss."""

    values: np.ndarray
    gram: np.ndarray
    played_cells: float


@dataclass
class Side:
    """Hold the users or the tracks of an alternation: their rows, blocks, newest factors, and a prior's terms."""

    name: str
    axis: Axis
    blocks: RDD[Block]
    swept: Swept
    terms: Terms | None = None


def sides_of(
    interactions: DataFrame, axes: Mapping[str, Axis], values: Mapping[str, np.ndarray], settings: WmfSettings
) -> tuple[Side, Side]:
    """Return the users and the tracks, cut into blocks.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        axes: the rows of `user` and of `track`.
        values: their first factors, (n, rank) float32.
        settings: confidence, rank and partitions.
    """
    weigh = partial(extra_confidence, settings=settings)

    def side(name: str, other: str) -> Side:
        rank, tasks = settings.rank, settings.partitions
        blocks = build_blocks(interactions, f"{name}_idx", axes[name], axes[other], weigh, rank, tasks)
        return Side(name, axes[name], blocks, Swept(values[name], gram(values[name]), 0.0))

    return side("user", "track"), side("track", "user")


def alternate(order: Iterable[Side], sides: tuple[Side, Side], settings: WmfSettings, what: str) -> Iterator[Side]:
    """Run a half sweep for each side in `order`, on the newest factors of the other; yield the side after it.

    The caller may replace the Gram matrix of the side's `swept` before it goes on.

    Args:
        order: the sides, one after the other.
        sides: both sides; their blocks are unpersisted at the end.
        settings: solver and regularization.
        what: what is done, for error messages.
    """
    context = sides[0].blocks.context
    shipped = {side.name: context.broadcast(side.swept.values) for side in sides}
    terms = {side.name: context.broadcast(side.terms) for side in sides if side.terms is not None}
    try:
        for number, side in enumerate(order):
            (other,) = (each for each in sides if each is not side)
            measure = side is sides[-1]
            fixed, last = shipped[other.name], shipped[side.name]
            half = HalfSweep(fixed, other.swept.gram, settings, last, measure, terms.get(side.name))
            side.swept = run(half, side.blocks, side.axis, f"{what}, half sweep {number + 1}, {side.name}s")
            last.destroy()
            shipped[side.name] = context.broadcast(side.swept.values)
            yield side
    finally:
        for side in sides:
            side.blocks.unpersist()
        for values in shipped.values():
            values.destroy()
        for added in terms.values():
            added.destroy()


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
        raise DataCheckError(
            f"{what}: factors of {bad:,} of {len(axis):,} rows are not finite; "
            "raise wmf.regularization or lower wmf.alpha"
        )
    return Swept(values, total_gram, played)
