"""Yesterday's factors brought up to date by folding in, without a refit.

Users that have no factors yet, or new plays, are solved on the earlier run's track factors; then tracks likewise on all
user factors, those just folded in included, so that a new track heard by new users only gets factors too. Everything
else is kept as it was. The basis stays that of the fit, so factors predicted for it remain comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.factors.foldin import fold_in
from etude.factors.matrix import Factors, check_size

_OBJECTIVE = ("rank", "confidence", "alpha", "epsilon", "regularization", "regularization_scaling")


@dataclass(frozen=True)
class Updated:
    """One side after folding in: `kept` rows of the earlier run and the rows folded in."""

    kept: DataFrame
    """user_idx or track_idx, factors, origin, as in the earlier run."""
    folded: Factors
    together: Factors
    """Both, in memory."""

    def rows(self, column: str) -> DataFrame:
        """Rows of user_factors or track_factors, without run_id."""
        folded = self.folded.to_frame(self.kept.sparkSession, column)
        return self.kept.unionByName(folded.select(column, "factors", F.lit("fold_in").alias("origin")))


def objective_of(settings: WmfSettings, earlier: dict[str, object]) -> WmfSettings:
    """The settings with the objective of the run that is extended (its `wmf` settings as the ledger has them)."""
    return settings.model_copy(update={name: earlier[name] for name in _OBJECTIVE})


def update(
    interactions: DataFrame, column: str, earlier: DataFrame, new: DataFrame, fixed: Factors, settings: WmfSettings
) -> Updated:
    """Fold in one side.

    Args:
        interactions: user_idx, track_idx, play_count.
        column: user_idx or track_idx, the side to fold in.
        earlier: `column`, factors, origin: that side's rows of the earlier run, without held-out ones.
        new: `column`: rows with new plays.
        fixed: factors of the other side.
        settings: with the objective of the earlier run.

    Raises:
        DataCheckError: a factor is not finite, or factors exceed wmf.max_broadcast_mb.
    """
    unknown = interactions.select(column).distinct().join(earlier, column, "left_anti")
    to_fold = unknown.unionByName(new.select(column)).distinct()
    folded = fold_in(interactions.join(to_fold, column, "left_semi"), column, fixed, settings)
    done = folded.idx_frame(interactions.sparkSession, column)
    kept = earlier.select(column, "factors", "origin").join(done, column, "left_anti")
    old = Factors.from_frame(kept, column, settings)
    idx = np.concatenate([old.idx, folded.idx])
    check_size({column: len(idx)}, settings)
    order = np.argsort(idx)
    return Updated(kept, folded, Factors(idx[order], np.concatenate([old.values, folded.values])[order]))
