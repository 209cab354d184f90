"""Ranks tracks for every user, and under an evaluation protocol scores the ranking.

Every user gets the topn.n candidates of highest x_u . y_i: warm tracks with their fitted factors and, where a train run
is there, cold tracks with predicted ones; users without factors get what is popular. Tracks the user has training
plays of are left out (topn.exclude_heard), held-out plays never: they are what a list is measured by.

evaluation.protocol: none writes the lists and brings them into force. strict and paper also measure the model beside
random, popularity, artist_popularity, same_artist and true_factors (the bound), on the slices all, warm, cold, head,
tail. Under strict the candidates are the warm and the test tracks; under paper the test tracks alone, with nothing left
out, and a popularity that has seen their plays.
"""

from __future__ import annotations

import json

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError, InputMissingError
from etude.job import JobRun, main
from etude.ranking import inputs, spread
from etude.ranking.models import Known, make_plan
from etude.ranking.plan import Plan
from etude.ranking.task import Checks

SECTIONS = ("lake", "spark", "inputs", "evaluation", "topn")


def run(job: JobRun) -> None:
    """Collect the candidates, rank every user against them, check, write the lists, measure."""
    wmf, train = job.upstream("wmf"), train_run(job)
    evaluated, topn = job.settings.evaluation.protocol != "none", job.settings.topn
    splits, tracks, users = job.read("splits", run_id=wmf), job.read("tracks"), job.read("users")
    interactions = job.read("interactions", interactions_version(job, wmf) if evaluated else None)
    training = inputs.training_plays(interactions, splits, job.settings.evaluation.protocol)

    plan, rank = plan_of(job, wmf, train, inputs.track_facts(tracks, training, splits))
    heard = training if topn.exclude_heard and job.settings.evaluation.protocol != "paper" else training.limit(0)
    relevant = inputs.relevant_plays(interactions, splits) if evaluated else training.limit(0)
    rows = spread.user_rows(users, job.read("user_factors", run_id=wmf), heard, relevant)
    done = spread.ranked(rows, plan, rank, tasks(job, users.count()))

    check(job, spread.checks(done))
    lists = spread.list_rows(done, tracks)
    job.replace("recommendations", lists.select(F.lit(job.run_id).alias("run_id"), "*"))
    if evaluated:
        job.metrics(spread.measured(done, plan))
    else:
        in_force = {"recommendations": job.run_id, "user_factors": wmf, "track_factors": wmf}
        job.make_current({**in_force, **({"predicted_factors": train} if train else {})})
    done.unpersist()


def train_run(job: JobRun) -> str | None:
    """The train run whose predictions are ranked; None, with a line in the log, where nothing was ever trained."""
    try:
        return job.upstream("train")
    except InputMissingError:
        if job.settings.inputs.train_run_id is not None or job.settings.evaluation.protocol == "paper":
            raise
    job.log.warning("no train run: cold tracks have no factors, so the lists hold warm tracks only")
    return None


def interactions_version(job: JobRun, wmf: str) -> int | None:
    """The version that a wmf run split into training and test plays; None where it summed plays itself."""
    row = job.read("runs", run_id=wmf, job="wmf").select("inputs").first()
    return None if row is None else row["inputs"].get("interactions")


def plan_of(job: JobRun, wmf: str, train: str | None, facts: inputs.TrackFacts) -> tuple[Plan, int]:
    """Collect the candidates' factors (their size is checked first); what is ranked and measured, and the rank.

    Raises:
        InputMissingError: there are no track factors.
    """
    fitted = job.read("track_factors", run_id=wmf).withColumn("held_out", F.col("origin") == "held_out")
    predicted = predictions(job, train, wmf) if train else None
    sizes = [inputs.Size.of(frame) for frame in (fitted, predicted) if frame is not None]
    inputs.check_size(sizes, job.settings.topn.broadcast_mb)
    if not sizes[0].rows:
        raise InputMissingError(f"wmf run {wmf} left no track factors")
    factors, held_out = inputs.collect_factors(fitted)
    name, seed = network_of(job, train) if train else ("", 0)
    known = Known(
        fitted=factors.where(~held_out),
        held_out=factors.where(held_out),
        predicted=None if predicted is None else inputs.collect_factors(predicted)[0],
        facts=facts,
        model=name,
        seed=seed,
    )
    plan, scales = make_plan(known, job.settings.topn, job.settings.evaluation)
    job.count("candidates", plan.sizes["all"])
    job.count("candidates_cold", plan.sizes["cold"])
    job.note("cold_scale", round(scales.predicted, 6))
    return plan, sizes[0].rank


def predictions(job: JobRun, train: str, wmf: str) -> DataFrame:
    """What the train run predicts.

    Raises:
        InputMissingError: nothing.
        DataCheckError: in another space than the user factors', where an inner product means nothing.
    """
    rows = job.read("predicted_factors", run_id=train)
    spaces = sorted(row[0] for row in rows.select("wmf_run_id").distinct().limit(3).collect())
    if not spaces:
        raise InputMissingError(f"train run {train} predicted no factors")
    if spaces != [wmf]:
        raise DataCheckError(
            f"train run {train} predicts factors in the space of wmf run {' and '.join(spaces)}, not of {wmf}: "
            f"factors of two fits have no common basis; run jobs/train.py on wmf run {wmf}, or set inputs.wmf_run_id"
        )
    return rows.withColumn("held_out", F.lit(False))


def network_of(job: JobRun, train: str) -> tuple[str, int]:
    """Name and seed of the network that a train run trained."""
    row = job.read("runs", run_id=train, job="train").select("settings").first()
    settings = json.loads(row["settings"]).get("train", {}) if row else {}
    return settings.get("model", "model"), settings.get("seed", 0)


def tasks(job: JobRun, users: int) -> int:
    """How many tasks share the users."""
    job.count("users", users)
    return max(job.spark.sparkContext.defaultParallelism, -(-users // job.settings.topn.users_per_task))


def check(job: JobRun, found: Checks) -> None:
    """Note what was counted, and stop before anything is written where it can't be right.

    Raises:
        DataCheckError: factors or scores that aren't finite, or a list shorter than its candidates allow.
    """
    job.count("recommendations", found.rows)
    job.count("users_by_popularity", found.fallback)
    job.count("relevant_out_of_reach", found.out_of_reach)
    if found.bad_factors or found.bad_scores:
        raise DataCheckError(f"{found.bad_factors} users' factors and {found.bad_scores} scores aren't usable numbers")
    if found.short:
        raise DataCheckError(f"{found.short} of {found.users} lists are shorter than their candidates allow")


if __name__ == "__main__":
    main("topn", run, SECTIONS, __doc__)
