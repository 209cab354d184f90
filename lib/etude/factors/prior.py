"""Blend plays and content: solve the tracks' factors once more, with the factors that content predicts as prior.

On the users' factors x_u of a finished fit, the factors of a played track minimise

    sum over all users u of c_ui (p_ui - x_u . y_i)^2 + l_i |y_i|^2 + m |y_i - a g_i|^2

with c and p of objective.py, the factors g_i that content predicts in the basis of the fit, the prior's weight m and
length a. A track without plays has y_i = b g_i. So without plays a track's factors are what its content says, and with
many they are what its plays say. The prior is that of collaborative topic regression (Wang & Blei 2011). Predictions
are shorter than what they predict, hence a. What is known by content alone is less certain, hence b is another number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from pyspark import RDD, Broadcast
from pyspark.sql import DataFrame

from etude.config.blend import BlendSettings
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.blocks import Axis, Block, build_blocks, row_cost
from etude.factors.objective import eigenbasis, extra_confidence, gram, turned
from etude.factors.solve import Prior
from etude.factors.sweep import HalfSweep, run
from etude.vectors import Factors, SizeLimit

_CG_STEPS = 10
"""A prior moves factors further than a sweep of a fit does, so they need more steps than wmf.cg_steps."""


def size_limit(settings: BlendSettings) -> SizeLimit:
    """Return the limit of the factors that the driver collects."""
    return SizeLimit(
        settings.broadcast_mb,
        "blend.broadcast_mb",
        "raise it (with the memory of driver and executors, and spark.driver.maxResultSize), or lower wmf.rank",
    )


@dataclass(frozen=True)
class PlayedTracks:
    """Hold the tracks of some interactions, ready to be solved with a prior on fixed factors of the users.

    Attributes:
        axis: the tracks.
        settings: those of the fit: objective and solver.
    """

    axis: Axis
    settings: WmfSettings
    _blocks: RDD[Block]
    _users: Broadcast[np.ndarray]
    _gram: np.ndarray
    _turn: np.ndarray
    _start: Broadcast[np.ndarray]

    def solve(self, prior: Factors, weight: float) -> Factors:
        """Return the factors of all played tracks.

        Args:
            prior: a g, of every played track and maybe of others.
            weight: m, in units of the fit's regularization.

        Raises:
            DataCheckError: a played track has no prior, or a factor is not finite.
        """
        own = prior.among(self.axis.idx)
        if len(own) < len(self.axis):
            raise DataCheckError(
                f"{len(self.axis) - len(own):,} of {len(self.axis):,} played tracks have no prior; expected all: "
                "run jobs/ingest.py and jobs/wmf.py again"
            )
        goals = turned(own.values, self._turn)
        pull = self._blocks.context.broadcast(Prior(goals, weight * self.settings.regularization))
        try:
            half = HalfSweep(self._users, self._gram, self.settings, self._start, self._turn, prior=pull)
            solved = run(half, self._blocks, self.axis, "blending").values
            return Factors(self.axis.idx, turned(solved, self._turn.T))
        finally:
            pull.destroy()


@contextmanager
def played_tracks(
    interactions: DataFrame, users: Factors, fitted: Factors, settings: WmfSettings
) -> Iterator[PlayedTracks]:
    """Cut the interactions into blocks of tracks, and keep them and the users' factors until the end of the context.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        users: the fit's factors.
        fitted: the fit's factors of the tracks, from which conjugate gradient starts.
        settings: those of the fit.
    """
    of_users, of_tracks = (Axis.of(interactions, f"{name}_idx") for name in ("user", "track"))
    weigh = partial(extra_confidence, settings=settings)
    blocks = build_blocks(
        interactions, "track_idx", of_tracks, of_users, weigh, row_cost(settings), settings.partitions
    )
    context = interactions.sparkSession.sparkContext
    values = of_users.rows_of(users)
    diagonal, turn = eigenbasis(gram(values))
    shipped, start = context.broadcast(turned(values, turn)), context.broadcast(of_tracks.rows_of(fitted))
    steps = settings.model_copy(update={"cg_steps": max(_CG_STEPS, settings.cg_steps)})
    try:
        yield PlayedTracks(of_tracks, steps, blocks, shipped, diagonal, turn, start)
    finally:
        blocks.unpersist()
        shipped.destroy()
        start.destroy()


def content_of(track_idx: np.ndarray, predicted: Factors, mean: np.ndarray) -> Factors:
    """Return g of every track: what content predicts, or the mean if content knows nothing of it.

    Args:
        track_idx: (n,) int32, ascending, every track.
        predicted: factors that content predicts.
        mean: (rank,) the mean of the fitted factors.
    """
    values = np.tile(mean.astype(np.float32), (len(track_idx), 1))
    _, at, of = np.intersect1d(track_idx, predicted.idx, assume_unique=True, return_indices=True)
    values[at] = predicted.values[of]
    return Factors(track_idx, values)
