"""Factorise interactions into user and track factors (weighted matrix factorisation, Hu, Koren & Volinsky 2008).

It reads interactions, users and tracks; it writes splits, user_factors, track_factors and the loss of every iteration.
With evaluation.protocol=strict, the fit sees neither plays of held-out tracks nor held-out plays of other tracks.
Held-out tracks get factors with origin held_out: their plays, folded in on the user factors. These factors are the
bound for predictions.

A run for a batch date uses the plays up to that date. If newer plays have been ingested, or wmf.window_days is set, it
computes interactions from plays, with its own listening.* filters. wmf.mode=fold_in extends an earlier run
(inputs.wmf_run_id, or chosen like any upstream run) by users and tracks whose interactions have changed since.
"""

from __future__ import annotations

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import storage
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.factors.barrier.stage import unavailable
from etude.factors.engines import ENGINES, choose
from etude.factors.fit import Size, size_limit
from etude.factors.foldin import fold_in
from etude.factors.update import changed, objective_of, update
from etude.interactions import played
from etude.job import JobRun, main
from etude.lake import Metric, folders, ledger
from etude.lake.staging import Staging
from etude.splits import Split, split_interactions
from etude.vectors import collect


def run(job: JobRun) -> None:
    """Fit factors, or fold new plays into those of an earlier run.

    Raises:
        SettingsError: wmf.mode is fold_in under a protocol that withholds plays.
    """
    extends = job.settings.wmf.mode == "fold_in"
    if extends and job.settings.evaluation.protocol != "none":
        raise SettingsError(
            f"wmf.mode=fold_in with evaluation.protocol={job.settings.evaluation.protocol}: expected "
            "evaluation.protocol=none"
        )
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"wmf-{job.run_id}")) as staging:
        of_batch = interactions(job, staging)
        split = split_interactions(
            of_batch, job.read("users"), job.read("tracks"), job.settings.evaluation, staging.keep
        )
        if extends:
            extend(job, of_batch, split, staging)
        else:
            fit(job, split)


def fit(job: JobRun, split: Split) -> None:
    """Fit, fold in held-out tracks, write."""
    settings = job.settings.wmf
    training = split.training.select("user_idx", "track_idx", "play_count")
    size = Size.of(training)
    job.count("training_interactions", size.interactions)
    if not size.interactions:
        raise InputMissingError(
            f"evaluation.protocol={job.settings.evaluation.protocol} leaves no interaction for training; "
            "lower evaluation.test_tracks and evaluation.validation_tracks, or don't evaluate: "
            "evaluation.protocol=none, or in a pipeline pipeline.evaluate=false"
        )
    engine, reason = choose(size, settings, unavailable(job.spark))
    if split.withheld is not None:
        size_limit(settings).check(
            {"user_idx": size.users}, settings.rank
        )  # held-out tracks are folded in on the users' factors
    job.log.info("engine=%s reason=%r size='about %d users, %d tracks'", engine, reason, size.users, size.tracks)
    job.note("engine", engine)
    folder = folders.checkpoints(job.lake.root, "wmf", job.run_id)
    fitted = ENGINES[engine](training, settings, folder, job.progress)
    for step, loss in fitted.losses:
        job.metrics([Metric(engine, "train", "loss", loss, step=step, seed=settings.seed)])
    tracks = fitted.tracks.withColumn("origin", F.lit("fit"))
    if split.withheld is not None:
        users = collect(fitted.users, "user_idx", size_limit(settings), settings.rank)
        held_out = fold_in(split.withheld, "track_idx", users, settings)
        job.count("held_out_tracks", len(held_out.idx))
        tracks = tracks.unionByName(held_out.to_frame(job.spark, "track_idx").withColumn("origin", F.lit("held_out")))
    write(job, split.rows, fitted.users.withColumn("origin", F.lit("fit")), tracks)
    storage.delete(folder)


def extend(job: JobRun, of_batch: DataFrame, split: Split, staging: Staging) -> None:
    """Keep the factors of an earlier run; fold in users and tracks that have changed since.

    Raises:
        DataCheckError: the earlier run extends one that has run again since: their factors have no common basis.
    """
    run_id = job.upstream("wmf")
    if job.graph.is_outdated("wmf", run_id):
        raise DataCheckError(
            f"wmf run {run_id} extends a run that has run again since; fold into that one (inputs.wmf_run_id)"
        )
    settings = objective_of(job.settings.wmf, ledger.whole(job.lake, job.graph.basis(run_id)).settings["wmf"])
    news = staging.keep(changes(job, of_batch, run_id))

    earlier = {side: job.read(f"{side}_factors", run_id=run_id) for side in ("user", "track")}
    fixed = collect(earlier["track"], "track_idx", size_limit(settings), settings.rank)
    of_users = update(of_batch, "user_idx", earlier["user"], news, fixed, settings)
    known_users = of_users.together("user_idx", settings)
    of_tracks = update(of_batch, "track_idx", earlier["track"], news, known_users, settings)
    job.count("users_folded_in", len(of_users.folded.idx))
    job.count("tracks_folded_in", len(of_tracks.folded.idx))
    write(job, split.rows, of_users.rows("user_idx"), of_tracks.rows("track_idx"))


def changes(job: JobRun, of_batch: DataFrame, run_id: str) -> DataFrame:
    """Return user_idx, track_idx of interactions that differ from an earlier run's; all if the latter can't be read."""
    run = job.graph.succeeded("wmf", run_id)
    version = None if run is None else run.tables_read.get("interactions")
    try:
        if version is not None:
            # Not through job.read, which pins the version that this run reads.
            return changed(of_batch, job.lake.read("interactions", version))
        reason = "it summed plays itself"
    except AnalysisException as error:
        reason = str(error).splitlines()[0]
    job.log.warning(
        "everything is folded in again: the interactions of wmf run %s can't be compared (%s)", run_id, reason
    )
    return of_batch.select("user_idx", "track_idx")


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
