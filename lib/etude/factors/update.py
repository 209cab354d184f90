"""Update an earlier run's factors by folding in, without a refit.

Users without factors, or with changed interactions, are solved on the earlier run's track factors. Tracks are then
solved the same way on all user factors, including those just folded in: a new track heard only by new users gets
factors too. All other factors are kept. The basis stays that of the fit, so factors predicted for it stay comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.factors.fit import size_limit
from etude.factors.foldin import fold_in
from etude.vectors import Factors, collect

_OBJECTIVE = ("rank", "confidence", "alpha", "epsilon", "regularization", "regularization_scaling")


@dataclass(frozen=True)
class Updated:
    """Hold one side after folding in: `kept` rows of the earlier run, and the rows folded in."""

    kept: DataFrame
    """user_idx or track_idx, factors, origin, as in the earlier run."""
    folded: Factors

    def rows(self, column: str) -> DataFrame:
        """Return rows of user_factors or track_factors, without run_id."""
        folded = self.folded.to_frame(self.kept.sparkSession, column)
        return self.kept.unionByName(folded.select(column, "factors", F.lit("fold_in").alias("origin")))

    def together(self, column: str, settings: WmfSettings) -> Factors:
        """Collect the kept rows and return them with the rows folded in.

        Raises:
            DataCheckError: the factors exceed wmf.max_broadcast_mb.
        """
        limit = size_limit(settings)
        kept = collect(self.kept, column, limit, settings.rank)
        limit.check({column: len(kept) + len(self.folded)}, settings.rank)
        return kept.union(self.folded)


def objective_of(settings: WmfSettings, fitted: WmfSettings) -> WmfSettings:
    """Return the settings with the objective of another fit; what a run computes with stays its own."""
    return settings.model_copy(update={name: getattr(fitted, name) for name in _OBJECTIVE})


def changed(now: DataFrame, before: DataFrame) -> DataFrame:
    """Return user_idx, track_idx of the interactions that are new, have another play_count or are gone.

    Args:
        now: user_idx, track_idx, play_count.
        before: the same columns, as the earlier run read them.
    """
    columns = ["user_idx", "track_idx", "play_count"]
    now, before = now.select(columns), before.select(columns)
    return now.subtract(before).unionByName(before.subtract(now)).select("user_idx", "track_idx").distinct()


def update(
    interactions: DataFrame, column: str, earlier: DataFrame, new: DataFrame, fixed: Factors, settings: WmfSettings
) -> Updated:
    """Fold in one side. Rows without any interactions have no factors, as after a fit, whatever they had before.

    Args:
        interactions: user_idx, track_idx, play_count.
        column: user_idx or track_idx, the side to fold in.
        earlier: `column`, factors, origin: that side's rows of the earlier run, without held-out ones.
        new: `column`: rows whose interactions have changed.
        fixed: factors of the other side.
        settings: settings with the objective of the earlier run.

    Raises:
        DataCheckError: a factor is not finite, or factors exceed wmf.max_broadcast_mb.
    """
    present = interactions.select(column).distinct()
    unknown = present.join(earlier, column, "left_anti")
    to_fold = unknown.unionByName(new.select(column)).distinct()
    folded = fold_in(interactions.join(to_fold, column, "left_semi"), column, fixed, settings)
    done = folded.idx_frame(interactions.sparkSession, column)
    kept = earlier.select(column, "factors", "origin").join(present, column, "left_semi")
    return Updated(kept.join(done, column, "left_anti"), folded)
