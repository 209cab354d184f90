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
    """Collect the candidates, rank every user against them, write the lists, measure, check."""
    wmf, train = job.upstream("wmf"), train_run(job)
    users = job.read("users")
    factors = job.read("user_factors", run_id=wmf)
    splits = job.read("splits", run_id=wmf)
    interactions, protocol = job.read("interactions"), job.settings.evaluation.protocol
    training = inputs.training_plays(interactions, splits, protocol)

    rank = rank_of(factors, wmf)
    plan = plan_of(job, wmf, train, inputs.track_facts(job.read("tracks"), training, splits), rank)
    heard = training if job.settings.topn.exclude_heard and protocol != "paper" else training.limit(0)
    relevant = inputs.relevant_plays(interactions, splits) if plan.models else training.limit(0)
    rows = spread.user_rows(users, factors, heard, relevant)
    done = spread.ranked(rows, plan, rank, tasks(job, users.count()))

    check(job, spread.checks(done))
    lists = spread.list_rows(done, job.read("tracks"))
    job.replace("recommendations", lists.select(F.lit(job.run_id).alias("run_id"), "*"))
    job.metrics(spread.measured(done, plan))
    done.unpersist()
    if protocol == "none":
        in_force = {"recommendations": job.run_id, "user_factors": wmf, "track_factors": wmf}
        job.make_current({**in_force, **({"predicted_factors": train} if train else {})})


def train_run(job: JobRun) -> str | None:
    """The train run whose predictions are ranked; None, with a line in the log, where nothing was ever trained."""
    try:
        return job.upstream("train")
    except InputMissingError:
        if job.settings.inputs.train_run_id is not None or job.settings.evaluation.protocol == "paper":
            raise
    job.log.warning("no train run: cold tracks have no factors, so the lists hold warm tracks only")
    return None


def rank_of(user_factors: DataFrame, wmf: str) -> int:
    """Length of the factors.

    Raises:
        InputMissingError: there are none.
    """
    row = user_factors.select(F.size("factors")).first()
    if row is None:
        raise InputMissingError(f"wmf run {wmf} left no user factors")
    return int(row[0])


def plan_of(job: JobRun, wmf: str, train: str | None, facts: inputs.TrackFacts, rank: int) -> Plan:
    """Collect the candidates' factors (their size is checked first) and lay out what is ranked and measured."""
    fitted = job.read("track_factors", run_id=wmf).where("origin <> 'held_out'")
    held_out = job.read("track_factors", run_id=wmf, origin="held_out")
    predicted = predictions(job, train, wmf) if train else None
    sizes = [frame.count() for frame in (fitted, held_out, predicted) if frame is not None]
    inputs.check_size(sum(sizes), rank, job.settings.topn.broadcast_mb)
    if not sizes[0]:
        raise InputMissingError(f"wmf run {wmf} left no track factors")
    name, seed = network_of(job, train) if train else ("", 0)
    known = Known(
        fitted=inputs.collect_factors(fitted, rank),
        held_out=inputs.collect_factors(held_out, rank),
        predicted=None if predicted is None else inputs.collect_factors(predicted, rank),
        facts=facts,
        model=name,
        seed=seed,
    )
    plan, scales = make_plan(known, job.settings.topn, job.settings.evaluation)
    job.count("candidates", plan.sizes["all"])
    job.count("candidates_cold", plan.sizes["cold"])
    job.note("cold_scale", round(scales.predicted, 6))
    return plan


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
    return rows


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
