"""Compute the loss over all cells for the factors of any engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from pyspark import Broadcast
from pyspark.sql import DataFrame

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Axis, Block, build_blocks, row_cost
from etude.factors.objective import extra_confidence, gram, penalty, row_regularization, total_loss
from etude.factors.solve import played_cells
from etude.vectors import Factors


@dataclass(frozen=True)
class _PlayedCells:
    users: Broadcast[np.ndarray]
    tracks: Broadcast[np.ndarray]

    def __call__(self, blocks: Iterable[Block]) -> Iterator[tuple[int, float]]:
        for block in blocks:
            yield block.start, played_cells(block, self.users.value, self.tracks.value[block.rows])


def loss(interactions: DataFrame, users: Factors, tracks: Factors, settings: WmfSettings) -> float:
    """Return the exact L of objective.py for factors of all users and tracks that have interactions."""
    context = interactions.sparkSession.sparkContext
    axes = Axis.of(interactions, "user_idx"), Axis.of(interactions, "track_idx")
    weigh = partial(extra_confidence, settings=settings)
    blocks = build_blocks(interactions, "track_idx", axes[1], axes[0], weigh, row_cost(settings), settings.partitions)
    shipped = [context.broadcast(axis.rows_of(side)) for axis, side in zip(axes, (users, tracks), strict=True)]
    try:
        parts = sorted(blocks.mapPartitions(_PlayedCells(*shipped)).collect())
    finally:
        blocks.unpersist()
    penalties = sum(
        penalty(values.value, row_regularization(axis.counts, settings))
        for axis, values in zip(axes, shipped, strict=True)
    )
    return total_loss(sum(part for _, part in parts), gram(users.values), gram(tracks.values), penalties)
