"""Blend plays and content into one set of factors for every track: played, hardly played and never played.

It reads the factors and splits of a wmf run, the interactions that the run was fitted to, and the factors that a train
run predicts from content. The predictions are the prior of the tracks' factors: without plays a track's factors are
what its content says, with many they are what its plays say. A track that content doesn't know has the mean of all
tracks as its prior. The users' factors stay those of the wmf run.

How much content counts is three numbers: blend.weight, blend.played_length and blend.unplayed_length. Under
evaluation.protocol=strict, those that aren't set are chosen on validation plays. Under the other protocols they are
those of the newest blend run under strict, or the defaults if there is none.

It writes blended_track_factors: every track, with the number of its listeners. Under strict, held-out tracks have no
plays, and nothing distinguishes them from tracks that nobody played.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import fitting
from etude.config.listening import ListeningSettings
from etude.errors import DataCheckError, InputMissingError
from etude.factors.choice import DEFAULT, LONGEST, Choice, Chosen, choose
from etude.factors.prior import PlayedTracks, content_of, played_tracks, size_limit
from etude.factors.sample import sample_of
from etude.interactions import played
from etude.job import JobRun, main
from etude.lake import Metric, folders, ledger
from etude.lake.staging import Staging
from etude.splits import training_plays
from etude.tracks import without_aliases
from etude.vectors import Factors, collect


def run(job: JobRun) -> None:
    """Gather the fit, its interactions and the predictions; choose; solve; write.

    Raises:
        DataCheckError: the train run doesn't fit the wmf run.
    """
    wmf, train = job.upstream("wmf"), job.upstream("train")
    predicted = job.read("predicted_factors", run_id=train)
    problem = fitting.problem_of(job.graph, train, wmf, predicted)
    if problem is not None:
        raise DataCheckError(problem)
    settings = fitting.fitted_with(job.lake, job.graph, wmf)
    fitted = job.read("track_factors", run_id=wmf).where(F.col("origin") != "held_out")
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"blend-{job.run_id}")) as staging:
        of_batch = fitted_interactions(job, wmf, staging)
        training = staging.keep(training_plays(of_batch, job.read("splits", run_id=wmf), job.record.protocol))
        if training.isEmpty():
            raise InputMissingError(
                f"wmf run {wmf} was fitted to no interaction that can be found: run jobs/wmf.py again"
            )
        idx = np.sort(without_aliases(job.read("tracks")).select("track_idx").toArrow()["track_idx"].to_numpy())
        limit = size_limit(job.settings.blend)
        limit.check({"track_idx": 3 * len(idx)}, settings.rank)  # content, played tracks, and the best so far
        users = collect(job.read("user_factors", run_id=wmf), "user_idx", limit, settings.rank)
        warm = collect(fitted, "track_idx", limit, settings.rank)
        known = collect(predicted, "track_idx", limit, settings.rank)
        content = content_of(idx, known, warm.values.mean(axis=0))
        job.count("tracks_without_content", len(np.setdiff1d(idx, known.idx)))
        with played_tracks(training, users, warm, settings) as tracks:
            if job.record.protocol == "strict":
                chosen = chosen_on_validation(job, wmf, of_batch, training, users, content, tracks)
            else:
                chosen = chosen_before(job, content, tracks)
        job.note("choice", asdict(chosen.choice))
        write(job, blended(chosen, content), training)


def fitted_interactions(job: JobRun, wmf: str, staging: Staging) -> DataFrame:
    """Return the interactions that a wmf run split and fitted: user_idx, track_idx, play_count and times."""
    run = job.graph.succeeded("wmf", wmf)
    assert run is not None
    settings = ledger.whole(job.lake, run).settings

    def read(table: str) -> DataFrame:
        return job.read(table, run.tables_read.get(table))

    listening = ListeningSettings.model_validate(settings["listening"])
    return played(read, run.batch_date, settings["wmf"]["window_days"], listening, staging)


def chosen_on_validation(
    job: JobRun,
    wmf: str,
    of_batch: DataFrame,
    training: DataFrame,
    users: Factors,
    content: Factors,
    tracks: PlayedTracks,
) -> Chosen:
    """Choose on the validation plays of a sample of users; keep what came out as metrics."""
    splits, settings = job.read("splits", run_id=wmf), job.settings.blend
    of_validation = splits.where("split = 'validation'")
    of_tracks = of_batch.join(of_validation.where("kind = 'track'").select("track_idx"), "track_idx")
    plays = of_validation.where("kind = 'play'").select("user_idx", "track_idx")
    withheld = plays.union(of_tracks.select("user_idx", "track_idx")).distinct()
    sample = sample_of(users, training, withheld, settings.sample_users)
    test = splits.where("kind = 'track' AND split = 'test'").select("track_idx").toArrow()["track_idx"].to_numpy()
    new = np.setdiff1d(content.idx, np.union1d(tracks.axis.idx, test)).astype(np.int32)
    chosen = choose(sample, tracks.solve, content, new, fixed(job), settings.new_share)
    job.count("sampled_users", len(sample.users))
    job.note("new_share", round(chosen.new_share, 6))
    gains = {"warm": chosen.gain_played, "cold": chosen.gain_new}
    job.metrics(
        Metric("blend", name, "discounted_gain", gain, k=LONGEST) for name, gain in gains.items() if not np.isnan(gain)
    )
    return chosen


def chosen_before(job: JobRun, content: Factors, tracks: PlayedTracks) -> Chosen:
    """Solve the tracks under the choice of the newest blend run under strict, or under the default."""
    choice = DEFAULT
    try:
        evaluated = job.graph.succeeded("blend", job.upstream("blend"))
        assert evaluated is not None
        choice = Choice(**ledger.whole(job.lake, evaluated).facts["choice"])
    except InputMissingError as error:
        job.log.info("weight and lengths are the defaults: %s", error)
    choice = Choice(**{**asdict(choice), **fixed(job)})
    return Chosen(choice, tracks.solve(content.scaled(choice.played_length), choice.weight))


def fixed(job: JobRun) -> dict[str, float]:
    """Return the values of the choice that the settings give."""
    given = {name: getattr(job.settings.blend, name) for name in asdict(DEFAULT)}
    return {name: value for name, value in given.items() if value is not None}


def blended(chosen: Chosen, content: Factors) -> Factors:
    """Return the factors of all tracks: those of played ones as solved, all others as content says."""
    others = content.where(~np.isin(content.idx, chosen.played.idx))
    return chosen.played.union(others.scaled(chosen.choice.unplayed_length))


def write(job: JobRun, tracks: Factors, training: DataFrame) -> None:
    """Write the factors with the tracks' listeners."""
    listeners = training.groupBy("track_idx").agg(F.count("*").cast("int").alias("listeners"))
    rows = tracks.to_frame(job.spark, "track_idx").join(listeners, "track_idx", "left")
    job.replace("blended_track_factors", rows.withColumn("listeners", F.coalesce("listeners", F.lit(0))))
    counted = job.lake.count("blended_track_factors", run_id=job.run_id)
    if counted != len(tracks):
        raise DataCheckError(f"blended_track_factors has {counted:,} rows; expected {len(tracks):,}: run again")
    job.count("blended_track_factors", counted)


if __name__ == "__main__":
    main("blend", run, __doc__)
