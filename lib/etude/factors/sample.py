"""Draw the users on whose withheld plays a choice is made."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError
from etude.factors.choice import Sample
from etude.hashing import uniform
from etude.search.candidates import Pairs
from etude.vectors import Factors

_MOST_PAIRS = 50_000_000
"""Pairs that the driver holds at most: 600 MB."""


def sample_of(users: Factors, training: DataFrame, withheld: DataFrame, size: int) -> Sample:
    """Draw users with withheld plays, the same in every run, and collect their plays.

    Args:
        users: factors of the fit; users without are left out.
        training: user_idx, track_idx; one row per pair.
        withheld: user_idx, track_idx; one row per pair.
        size: number of users.

    Raises:
        DataCheckError: the drawn users have more plays than the driver may hold.
    """
    draw = uniform(0, "sample of users", F.col("user_idx"))
    drawn = withheld.select("user_idx").distinct().orderBy(draw, "user_idx").limit(size).toArrow()
    chosen = users.among(drawn["user_idx"].to_numpy())
    of_chosen = F.broadcast(chosen.idx_frame(training.sparkSession, "user_idx"))

    def pairs(frame: DataFrame, name: str) -> Pairs:
        mine = frame.select("user_idx", "track_idx").join(of_chosen, "user_idx").limit(_MOST_PAIRS + 1).toArrow()
        if mine.num_rows > _MOST_PAIRS:
            raise DataCheckError(
                f"{len(chosen):,} users have more than {_MOST_PAIRS:,} {name}; expected fewer: lower blend.sample_users"
            )
        rows = np.searchsorted(chosen.idx, mine["user_idx"].to_numpy())
        tracks = mine["track_idx"].to_numpy()
        order = np.lexsort((tracks, rows))
        return Pairs(rows[order], tracks[order])

    return Sample(chosen.values, pairs(training, "training plays"), pairs(withheld, "withheld plays"))
