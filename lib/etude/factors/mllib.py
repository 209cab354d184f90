"""Fit by the engine `mllib`: pyspark.ml's ALS with implicit preferences, for factors that exceed one process.

Differences from the objective of objective.py, and how they are handled:
- MLlib multiplies lambda by each row's number of interactions. With `wmf.regularization_scaling=frequency` this is the
  same objective at the same lambda. Without scaling MLlib has no equivalent. It then gets lambda (U + I) / (2 nnz), so
  that the rows' lambdas have the same sum over both sides; compare recommendations, not losses.
- MLlib's confidence is 1 + alpha r. With log confidence it gets log(1 + r / epsilon) as r.
- MLlib draws its own initial factors (seeded, but dependent on its partitions) and solves every row exactly. It exposes
  the last iteration only, so the loss (computed by loss.py) has one step.
"""

from __future__ import annotations

import logging

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, SettingsError
from etude.factors.fit import Earlier, Fit, Progress, size_limit, unwatched
from etude.factors.loss import loss
from etude.factors.objective import rating
from etude.vectors import collect

log = logging.getLogger("etude.wmf")


def fit(
    interactions: DataFrame,
    settings: WmfSettings,
    folder: str,  # noqa: ARG001
    progress: Progress = unwatched,  # noqa: ARG001
    earlier: Earlier | None = None,
) -> Fit:
    """Fit factors (see `Engine`).

    Raises:
        SettingsError: there are earlier factors, from which MLlib can't start.
    """
    if earlier is not None:
        raise SettingsError(
            "wmf.mode=refit with the engine mllib: it draws its own start values; take wmf.engine=barrier or blocked"
        )
    rated = interactions.select("user_idx", "track_idx", rating(F.col("play_count"), settings).alias("rating"))
    # MLlib's default is 10 blocks for any number of slots; a block is the work of one task.
    blocks = settings.partitions or interactions.sparkSession.sparkContext.defaultParallelism
    als = ALS(
        rank=settings.rank,
        maxIter=settings.iterations,
        regParam=regularization(interactions, settings),
        alpha=settings.alpha,
        implicitPrefs=True,
        seed=settings.seed,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        userCol="user_idx",
        itemCol="track_idx",
        ratingCol="rating",
    )
    model = als.fit(rated)
    users = model.userFactors.select(F.col("id").alias("user_idx"), F.col("features").alias("factors"))
    tracks = model.itemFactors.select(F.col("id").alias("track_idx"), F.col("features").alias("factors"))
    for side, frame in (("users", users), ("tracks", tracks)):
        finite = F.forall("factors", lambda x: ~F.isnan(x) & (F.abs(x) < F.lit(float("inf"))))
        bad = frame.where(~finite).count()
        if bad:
            raise DataCheckError(f"mllib: factors of {bad:,} {side} are not finite; raise wmf.regularization")
    return Fit(users, tracks, _losses(interactions, users, tracks, settings))


def regularization(interactions: DataFrame, settings: WmfSettings) -> float:
    """Return MLlib's regParam for wmf.regularization: the same if frequency-scaled, else lambda (U + I) / (2 nnz)."""
    if settings.regularization_scaling == "frequency":
        return settings.regularization
    found = interactions.agg(
        F.count_distinct("user_idx").alias("users"),
        F.count_distinct("track_idx").alias("tracks"),
        F.count(F.lit(1)).alias("interactions"),
    ).first()
    assert found is not None
    scaled = settings.regularization * (found["users"] + found["tracks"]) / (2 * found["interactions"])
    log.info("engine=mllib regParam=%.6g for wmf.regularization=%g", scaled, settings.regularization)
    return float(scaled)


def _losses(
    interactions: DataFrame, users: DataFrame, tracks: DataFrame, settings: WmfSettings
) -> list[tuple[int, float]]:
    limit = size_limit(settings)
    size = limit.size(users.count() + tracks.count(), settings.rank)
    if size > limit.megabytes:
        log.warning("engine=mllib loss=unknown reason='%.0f MB of factors exceed %s'", size, limit.setting)
        return []
    collected = collect(users, "user_idx", limit, settings.rank), collect(tracks, "track_idx", limit, settings.rank)
    return [(settings.iterations, loss(interactions, *collected, settings))]
