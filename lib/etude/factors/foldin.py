"""Fold in users or tracks: solve their factors on the other side's fixed factors, without a refit.

A row's factors are the exact solution of its own equations (see kernels.py). So folding in a track on the user factors
that it was last solved with gives its fitted factors (wmf.solver=cholesky; conjugate gradient approximates them).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from pyspark.sql import DataFrame

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Axis, Block, build_blocks, exact_row_cost
from etude.factors.fit import size_limit
from etude.factors.objective import extra_confidence, gram
from etude.factors.solve import solve
from etude.factors.sweep import HalfSweep, run
from etude.vectors import Factors

_OTHER = {"user_idx": "track_idx", "track_idx": "user_idx"}


def fold_in_row(neighbours: np.ndarray, play_count: np.ndarray, fixed: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Return the factors (rank,) float32 of one user or track.

    Args:
        neighbours: rows of `fixed` that it has plays with, (n,) integers.
        play_count: plays with each, (n,) integers.
        fixed: factors of the other side, (m, rank) float32.
        settings: confidence and regularization.
    """
    ends = np.array([0, len(neighbours)], dtype=np.int64)
    block = Block(0, 0, ends, neighbours.astype(np.int32), extra_confidence(play_count, settings))
    return solve(block, fixed, gram(fixed), settings)[0]


def fold_in(interactions: DataFrame, column: str, fixed: Factors, settings: WmfSettings) -> Factors:
    """Return the factors of all rows of a side that have interactions with rows of the other side with factors.

    Args:
        interactions: user_idx, track_idx, play_count of the rows to fold in.
        column: user_idx or track_idx, the side to fold in.
        fixed: factors of the other side.
        settings: confidence and regularization.

    Raises:
        DataCheckError: a factor is not finite, or the factors exceed wmf.max_broadcast_mb.
    """
    spark = interactions.sparkSession
    other = _OTHER[column]
    usable = interactions.select("user_idx", "track_idx", "play_count").join(
        fixed.idx_frame(spark, other), other, "left_semi"
    )
    rows, columns = Axis.of(usable, column), Axis(fixed.idx, np.zeros(len(fixed.idx), np.int64))
    if not len(rows):
        return Factors(rows.idx, np.empty((0, settings.rank), np.float32))
    size_limit(settings).check({column: len(rows), other: len(columns)}, settings.rank)
    weigh = partial(extra_confidence, settings=settings)
    blocks = build_blocks(usable, column, rows, columns, weigh, exact_row_cost(settings.rank), settings.partitions)
    shipped = spark.sparkContext.broadcast(fixed.values)
    try:
        half = HalfSweep(shipped, gram(fixed.values), settings)
        return Factors(rows.idx, run(half, blocks, rows, f"folding in by {column}").values)
    finally:
        blocks.unpersist()
        shipped.destroy()
