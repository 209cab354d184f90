"""Blend plays and content into one set of factors for every track: played, hardly played and never played.

It reads the factors and splits of a wmf run, the interactions that the run was fitted to, and the factors that a train
run predicts from content. The predictions are the prior of the tracks' factors: without plays a track's factors are
what its content says, with many they are what its plays say. A track that content doesn't know has the mean of all
tracks as its prior. blend.weight says how many plays outweigh the content.

It writes blended_user_factors, blended_track_factors (every track, with the number of its listeners) and the loss of
every sweep. The factors keep the basis of the wmf run. Under evaluation.protocol=strict, held-out tracks have no plays.
Nothing else distinguishes them from tracks that nobody played.
"""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import fitting
from etude.config.listening import ListeningSettings
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, InputMissingError
from etude.factors.fit import size_limit
from etude.factors.prior import Joined, exposures, join, prior_of
from etude.interactions import played
from etude.job import JobRun, main
from etude.lake import Metric, folders, ledger
from etude.lake.staging import Staging
from etude.splits import training_plays
from etude.vectors import collect


def run(job: JobRun) -> None:
    """Gather the fit, its interactions and the predictions; solve; write.

    Raises:
        DataCheckError: the train run doesn't fit the wmf run.
    """
    wmf, train = job.upstream("wmf"), job.upstream("train")
    predicted = job.read("predicted_factors", run_id=train)
    problem = fitting.problem_of(job.graph, train, wmf, predicted)
    if problem is not None:
        raise DataCheckError(problem)
    settings = settings_of(job, job.graph.basis(wmf).run_id)
    fitted = job.read("track_factors", run_id=wmf).where(F.col("origin") != "held_out")
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"blend-{job.run_id}")) as staging:
        training = staging.keep(fitted_interactions(job, wmf, staging))
        tracks = exposures(job.read("tracks"), training)
        limit = size_limit(settings)
        limit.check({"track_idx": 2 * tracks.count()}, settings.rank)
        users = collect(job.read("user_factors", run_id=wmf), "user_idx", limit, settings.rank)
        warm = collect(fitted, "track_idx", limit, settings.rank)
        content = collect(predicted, "track_idx", limit, settings.rank)
        weight = job.settings.blend.weight * settings.regularization
        prior = prior_of(tracks.toArrow(), content, warm.values.mean(axis=0), weight)
        joined = join(training, users, warm, prior, settings, job.settings.blend.sweeps, job.progress)
        job.count("tracks_without_content", len(np.setdiff1d(prior.factors.idx, content.idx)))
        write(job, joined, tracks, training)


def settings_of(job: JobRun, run_id: str) -> WmfSettings:
    """Return the settings under which a wmf run was fitted."""
    fit = job.graph.succeeded("wmf", run_id)
    assert fit is not None
    return WmfSettings.model_validate(ledger.whole(job.lake, fit).settings["wmf"])


def fitted_interactions(job: JobRun, wmf: str, staging: Staging) -> DataFrame:
    """Return the interactions that a wmf run was fitted to: user_idx, track_idx, play_count and times.

    Raises:
        InputMissingError: there are none.
    """
    run = job.graph.succeeded("wmf", wmf)
    assert run is not None
    settings = ledger.whole(job.lake, run).settings

    def read(table: str) -> DataFrame:
        return job.read(table, run.tables_read.get(table))

    of_batch = played(
        read,
        run.batch_date,
        settings["wmf"]["window_days"],
        ListeningSettings.model_validate(settings["listening"]),
        staging,
    )
    training = training_plays(of_batch, job.read("splits", run_id=wmf), job.record.protocol)
    if training.isEmpty():
        raise InputMissingError(f"wmf run {wmf} was fitted to no interaction that can be found: run jobs/wmf.py again")
    return training


def write(job: JobRun, joined: Joined, tracks: DataFrame, training: DataFrame) -> None:
    """Write the factors with the tracks' listeners and exposure, and keep the losses."""
    for step, loss in joined.losses:
        job.metrics([Metric("blend", "train", "loss", loss, step=step)])
    listeners = training.groupBy("track_idx").agg(F.count("*").cast("int").alias("listeners"))
    rows = joined.tracks.to_frame(job.spark, "track_idx").join(tracks, "track_idx").join(listeners, "track_idx", "left")
    rows = rows.withColumn("listeners", F.coalesce("listeners", F.lit(0)))
    job.replace("blended_user_factors", joined.users.to_frame(job.spark, "user_idx"))
    job.replace("blended_track_factors", rows)
    counted = job.lake.count("blended_track_factors", run_id=job.run_id)
    if counted != len(joined.tracks):
        raise DataCheckError(f"blended_track_factors has {counted:,} rows; expected {len(joined.tracks):,}: run again")
    job.count("blended_user_factors", len(joined.users))
    job.count("blended_track_factors", counted)


if __name__ == "__main__":
    main("blend", run, __doc__)
