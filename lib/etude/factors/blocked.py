"""Fit by the engine `blocked`: alternating least squares over cached blocks of rows, compiled, in float32.

Each of the `wmf.iterations` iterations solves the users' rows on the tracks' factors, then the tracks' rows on the
users' new factors. Blocks are built once. A half sweep broadcasts the other side's newest factors, solves every row
(conjugate gradient from the row's last factors, or exactly) and collects the factors on the driver. The driver and each
Python worker hold the factors of both sides: `wmf.max_broadcast_mb` limits their size, checked before any work.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from pyspark import Broadcast
from pyspark.sql import DataFrame

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Axis, build_blocks
from etude.factors.fit import Fit, Progress, size_limit, unwatched
from etude.factors.objective import extra_confidence, gram, penalty, row_regularization, total_loss
from etude.factors.start import start
from etude.factors.sweep import HalfSweep, Swept, run
from etude.vectors import Factors

_OTHER = {"user": "track", "track": "user"}


def fit(interactions: DataFrame, settings: WmfSettings, progress: Progress = unwatched) -> Fit:
    """Fit factors (see `Engine`)."""
    spark = interactions.sparkSession
    axes = {side: Axis.of(interactions, f"{side}_idx") for side in _OTHER}
    size_limit(settings).check({f"{side}_idx": len(axis) for side, axis in axes.items()}, settings.rank)
    weigh = partial(extra_confidence, settings=settings)
    blocks = {
        side: build_blocks(
            interactions, f"{side}_idx", axes[side], axes[other], weigh, settings.rank, settings.partitions
        )
        for side, other in _OTHER.items()
    }
    state = {side: _begin(axis, side, settings) for side, axis in axes.items()}
    shipped: dict[str, Broadcast[np.ndarray]] = {
        side: spark.sparkContext.broadcast(swept.values) for side, swept in state.items()
    }
    losses = []
    try:
        for iteration in progress(range(1, settings.iterations + 1), "factorising", settings.iterations):
            for side, other in _OTHER.items():
                half = HalfSweep(shipped[other], state[other].gram, settings, shipped[side], measure=side == "track")
                state[side] = run(half, blocks[side], axes[side], f"iteration {iteration}, {side}s")
                shipped[side].destroy()
                shipped[side] = spark.sparkContext.broadcast(state[side].values)
            losses.append((iteration, _loss(state, axes, settings)))
    finally:
        for side in _OTHER:
            blocks[side].unpersist()
            shipped[side].destroy()
    frames = [Factors(axes[side].idx, state[side].values).to_frame(spark, f"{side}_idx") for side in _OTHER]
    return Fit(frames[0], frames[1], losses)


def _begin(axis: Axis, side: str, settings: WmfSettings) -> Swept:
    values = start(axis.idx, side, settings)
    return Swept(values, gram(values), 0.0)


def _loss(state: dict[str, Swept], axes: dict[str, Axis], settings: WmfSettings) -> float:
    penalties = sum(penalty(state[side].values, row_regularization(axes[side].counts, settings)) for side in _OTHER)
    return total_loss(state["track"].played_cells, state["user"].gram, state["track"].gram, penalties)
