"""Factorise interactions into user and track factors (weighted matrix factorisation, Hu, Koren & Volinsky 2008).

It reads interactions, users and tracks; it writes splits, user_factors, track_factors and the loss of every iteration.
With evaluation.protocol=strict, the fit sees neither plays of held-out tracks nor held-out plays of other tracks.
Held-out tracks get factors with origin held_out: their plays, folded in on the user factors. These factors are the
bound for predictions.

A run for a batch date uses the plays up to that date. If newer plays have been ingested, or wmf.window_days is set, it
computes interactions from plays, with its own listening.* filters.

Two modes build on an earlier run (inputs.wmf_run_id, or chosen like any upstream run) and stay in its basis, so vectors
of both can be compared. wmf.mode=fold_in keeps its factors and solves only users and tracks whose interactions have
changed since. wmf.mode=refit fits everything again, from its factors, and rotates the result onto its basis.
"""

from __future__ import annotations

import re
from functools import cache, partial

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import fitting, storage
from etude.causes import cause_of
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.factors.barrier.stage import unavailable
from etude.factors.basis import onto
from etude.factors.engines import ENGINES, choose
from etude.factors.fit import Earlier, Size, size_limit
from etude.factors.foldin import fold_in
from etude.factors.update import changed, objective_of, update
from etude.interactions import played
from etude.job import JobRun, main
from etude.lake import Metric, folders
from etude.lake.staging import Staging
from etude.splits import Split, split_interactions, split_rows, splits_of
from etude.vectors import collect

_NO_FILE = re.compile(r"FILE_NOT_EXIST|FileNotFoundException")


def run(job: JobRun) -> None:
    """Fit factors, or fold new plays into those of an earlier run.

    Raises:
        SettingsError: wmf.mode is not `fit` under a protocol that withholds plays.
    """
    mode = job.settings.wmf.mode
    if mode != "fit" and job.settings.evaluation.protocol != "none":
        raise SettingsError(
            f"wmf.mode={mode} with evaluation.protocol={job.settings.evaluation.protocol}: expected "
            "evaluation.protocol=none, since the earlier run may have seen what this one withholds"
        )
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"wmf-{job.run_id}")) as staging:
        of_batch = interactions(job, staging)
        if mode == "fold_in":
            extend(job, of_batch, staging)
            return
        split = split_interactions(
            of_batch, job.read("users"), job.read("tracks"), job.settings.evaluation, staging.keep
        )
        fit(job, split, earlier_fit(job) if mode == "refit" else None)


def fit(job: JobRun, split: Split, earlier: Earlier | None) -> None:
    """Fit, rotate onto the basis of the earlier fit if there is one, fold in held-out tracks, write."""
    settings = job.settings.wmf
    training = split.training.select("user_idx", "track_idx", "play_count")
    size, n = cache(partial(Size.of, training)), training.count()
    job.count("training_interactions", n)
    if not n:
        raise InputMissingError(
            f"evaluation.protocol={job.settings.evaluation.protocol} leaves no interaction for training; "
            "lower evaluation.test_tracks and evaluation.validation_tracks, or don't evaluate: "
            "evaluation.protocol=none, or in a pipeline pipeline.evaluate=false"
        )
    engine, reason = choose(size, settings, unavailable(job.spark))
    if split.withheld is not None:
        size_limit(settings).check(
            {"user_idx": size().users}, settings.rank
        )  # held-out tracks are folded in on the users' factors
    job.log.info("engine=%s reason=%r", engine, reason)
    job.note("engine", engine)
    folder = folders.checkpoints(job.lake.root, "wmf", job.run_id)
    fitted = ENGINES[engine](training, settings, folder, job.progress, earlier)
    for step, loss in fitted.losses:
        job.metrics([Metric(engine, "train", "loss", loss, step=step, seed=settings.seed)])
    if earlier is None:
        job.note("basis", job.run_id)
    else:
        fitted, found = onto(fitted, earlier, settings.rank)
        job.count("common_tracks", found.tracks)
        job.log.info("basis common_tracks=%d drift=%.4f residual=%.4f", found.tracks, found.drift, found.residual)
        for name, value in (("basis_drift", found.drift), ("basis_residual", found.residual)):
            job.metrics([Metric(engine, "train", name, value, seed=settings.seed)])
    tracks = fitted.tracks.withColumn("origin", F.lit("fit"))
    if split.withheld is not None:
        users = collect(fitted.users, "user_idx", size_limit(settings), settings.rank)
        held_out = fold_in(split.withheld, "track_idx", users, settings)
        job.count("held_out_tracks", len(held_out.idx))
        tracks = tracks.unionByName(held_out.to_frame(job.spark, "track_idx").withColumn("origin", F.lit("held_out")))
    rows = split.rows if split.rows is not None else track_rows(job, fitted.tracks)
    write(job, rows, fitted.users.withColumn("origin", F.lit("fit")), tracks)
    storage.delete(folder)


def extend(job: JobRun, of_batch: DataFrame, staging: Staging) -> None:
    """Keep the factors of an earlier run; fold in users and tracks that have changed since.

    Raises:
        DataCheckError: see `earlier_run`.
    """
    run_id = earlier_run(job)
    settings = objective_of(job.settings.wmf, fitting.fitted_with(job.lake, job.graph, run_id))
    news = changes(job, of_batch, run_id, staging)

    earlier = {side: job.read(f"{side}_factors", run_id=run_id) for side in ("user", "track")}
    fixed = collect(earlier["track"], "track_idx", size_limit(settings), settings.rank)
    of_users = update(of_batch, "user_idx", earlier["user"], news, fixed, settings)
    known_users = of_users.together("user_idx", settings)
    of_tracks = update(of_batch, "track_idx", earlier["track"], news, known_users, settings)
    job.count("users_folded_in", len(of_users.folded.idx))
    job.count("tracks_folded_in", len(of_tracks.folded.idx))
    played = staging.keep(of_batch.select("track_idx").distinct())
    write(job, track_rows(job, played), of_users.rows("user_idx"), of_tracks.rows("track_idx"))


def track_rows(job: JobRun, played: DataFrame) -> DataFrame:
    """Return the rows of `splits` of protocol none, from the tracks with plays (track_idx)."""
    return split_rows(splits_of(played, job.read("tracks"), job.settings.evaluation), None)


def earlier_run(job: JobRun) -> str:
    """Return the run_id of the earlier run, and note whose basis it has.

    Raises:
        DataCheckError: it extends one that has run again since: their factors have no common basis.
    """
    run_id = job.upstream("wmf")
    if job.graph.is_outdated("wmf", run_id):
        raise DataCheckError(
            f"wmf run {run_id} builds on a run that has run again since; build on that one (inputs.wmf_run_id)"
        )
    job.note("basis", job.graph.basis(run_id).run_id)
    return run_id


def earlier_fit(job: JobRun) -> Earlier:
    """Return the factors of the earlier run.

    Raises:
        DataCheckError: see `earlier_run`.
        SettingsError: they have another rank.
    """
    run_id = earlier_run(job)
    before, now = fitting.fitted_with(job.lake, job.graph, run_id).rank, job.settings.wmf.rank
    if before != now:
        raise SettingsError(
            f"wmf.mode=refit: wmf run {run_id} has wmf.rank={before}, this run {now}; set the same, or wmf.mode=fit"
        )
    users, tracks = (job.read(f"{side}_factors", run_id=run_id) for side in ("user", "track"))
    ended = job.graph.succeeded("wmf", run_id)
    return Earlier(users, tracks, f"{run_id} {ended and ended.ended_at}")


def changes(job: JobRun, of_batch: DataFrame, run_id: str, staging: Staging) -> DataFrame:
    """Return user_idx, track_idx of interactions that differ from an earlier run's; all if the latter can't be read.

    The log may still have that version after VACUUM has removed its files: this shows only as they are read.
    """
    run = job.graph.succeeded("wmf", run_id)
    version = None if run is None else run.tables_read.get("interactions")
    try:
        if version is not None:
            # Not through job.read, which pins the version that this run reads.
            return staging.keep(changed(of_batch, job.lake.read("interactions", version)))
        reason = "it summed plays itself"
    except (AnalysisException, Py4JJavaError) as error:
        reason = cause_of(error)
        if isinstance(error, Py4JJavaError) and not _NO_FILE.search(str(error)):
            raise
    job.log.warning(
        "everything is folded in again: the interactions of wmf run %s can't be compared (%s)", run_id, reason
    )
    return staging.keep(of_batch.select("user_idx", "track_idx"))


def interactions(job: JobRun, staging: Staging) -> DataFrame:
    """Return interactions up to the batch date (and within the window): user_idx, track_idx, play_count and times.

    Raises:
        InputMissingError: there are none.
    """
    found = played(job.read, job.batch_date, job.settings.wmf.window_days, job.settings.listening, staging)
    n = found.count()
    if not n:
        raise InputMissingError(f"no interactions in {job.lake.root} for {job.batch_date}: run jobs/ingest.py first")
    job.count("interactions", n)
    return found


def write(job: JobRun, splits: DataFrame, users: DataFrame, tracks: DataFrame) -> None:
    """Write the run's rows, after everything has been computed."""
    tables = {"splits": splits, "user_factors": users, "track_factors": tracks}
    for table, rows in tables.items():
        job.replace(table, rows)
        job.count(table, job.lake.count(table, run_id=job.run_id))


if __name__ == "__main__":
    main("wmf", run, __doc__)
