"""Fit by the engine `blocked`: alternating least squares over cached blocks of rows, compiled, in float32.

Each of the `wmf.iterations` iterations solves the users' rows on the tracks' factors, then the tracks' rows on the
users' new factors. Blocks are built once. A half sweep broadcasts the other side's newest factors, solves every row
(conjugate gradient from the row's last factors in the eigenbasis of the fixed side's Gram matrix, or exactly) and
collects the factors on the driver. The driver and each
Python worker hold the factors of both sides: `wmf.max_broadcast_mb` limits their size, checked before any work.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame

from etude.config.wmf import WmfSettings
from etude.factors.blocks import OTHER, Axis, Block, build_blocks, row_cost
from etude.factors.fit import Earlier, Fit, Progress, size_limit, unwatched
from etude.factors.objective import (
    converged,
    eigenbasis,
    extra_confidence,
    gram,
    penalty,
    row_regularization,
    total_loss,
    turned,
)
from etude.factors.start import start
from etude.factors.sweep import HalfSweep, Swept, run
from etude.vectors import Factors, collect


def fit(
    interactions: DataFrame,
    settings: WmfSettings,
    folder: str,  # noqa: ARG001
    progress: Progress = unwatched,
    earlier: Earlier | None = None,
) -> Fit:
    """Fit factors (see `Engine`)."""
    spark = interactions.sparkSession
    axes = {side: Axis.of(interactions, f"{side}_idx") for side in OTHER}
    size_limit(settings, blocked=True).check({f"{side}_idx": len(axis) for side, axis in axes.items()}, settings.rank)
    weigh = partial(extra_confidence, settings=settings)
    blocks = {
        side: build_blocks(
            interactions, f"{side}_idx", axes[side], axes[other], weigh, row_cost(settings), settings.partitions
        )
        for side, other in OTHER.items()
    }
    first = {side: _start(side, axis, settings, earlier) for side, axis in axes.items()}
    sides = _Sides(spark.sparkContext, axes, first, settings)
    losses: list[tuple[int, float]] = []
    try:
        for iteration in progress(range(1, settings.iterations + 1), "factorising", settings.iterations):
            for side, other in OTHER.items():
                swept = sides.sweep(side, other, blocks[side], f"iteration {iteration}, {side}s")
            losses.append((iteration, sides.loss(swept.played_cells)))
            if converged(losses, settings):
                break
    finally:
        for side in OTHER:
            blocks[side].unpersist()
        sides.destroy()
    frames = [Factors(axes[side].idx, sides.in_first_basis(side)).to_frame(spark, f"{side}_idx") for side in OTHER]
    return Fit(frames[0], frames[1], losses)


def _start(side: str, axis: Axis, settings: WmfSettings, earlier: Earlier | None) -> np.ndarray:
    values = start(axis.idx, side, settings)
    if earlier is not None:
        known = collect(earlier.of(side), f"{side}_idx", size_limit(settings), settings.rank)
        axis.put(known, values)
    return values


class _Sides:
    """Hold the factors of both sides, on the driver and broadcast.

    Before a half sweep, the fixed side is turned into the eigenbasis of its Gram matrix, where the rows' equations are
    cheap to solve; the tasks turn the other side's last factors. So the basis changes with every half sweep. `_turns`
    is the product of all rotations: its transpose takes the factors back to the basis of the start values, in which
    they depend little on the rounding of a machine.
    """

    def __init__(
        self, context: SparkContext, axes: dict[str, Axis], first: dict[str, np.ndarray], settings: WmfSettings
    ):
        self._context, self._axes, self._settings = context, axes, settings
        self._values = first
        self._grams = {side: gram(values) for side, values in self._values.items()}
        self._turns = np.eye(settings.rank)
        self._shipped = {side: context.broadcast(values) for side, values in self._values.items()}

    def sweep(self, side: str, other: str, blocks: RDD[Block], what: str) -> Swept:
        """Solve the rows of `side` on the factors of `other`."""
        self._grams[other], turn = eigenbasis(self._grams[other])
        self._turns = self._turns @ turn
        self._values[other] = turned(self._values[other], turn)
        self._shipped[other].destroy()
        self._shipped[other] = self._context.broadcast(self._values[other])
        half = HalfSweep(self._shipped[other], self._grams[other], self._settings, self._shipped[side], turn)
        swept = run(half, blocks, self._axes[side], what)
        self._values[side], self._grams[side] = swept.values, swept.gram
        return swept

    def loss(self, played_cells: float) -> float:
        """Return the loss after a whole sweep, whose track half gave `played_cells`."""
        penalties = sum(
            penalty(self._values[side], row_regularization(axis.counts, self._settings))
            for side, axis in self._axes.items()
        )
        return total_loss(played_cells, self._grams["user"], self._grams["track"], penalties)

    def in_first_basis(self, side: str) -> np.ndarray:
        """Return the factors of a side in the basis of the start values."""
        return turned(self._values[side], self._turns.T)

    def destroy(self) -> None:
        """Free the broadcasts."""
        for shipped in self._shipped.values():
            shipped.destroy()
