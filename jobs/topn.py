"""Rank tracks for every user, and measure the lists under an evaluation protocol.

Every user gets the topn.n candidates with the highest x_u . y_i. If there is a blend run, the factors of all tracks are
blended ones. Otherwise warm tracks have fitted factors and, if there is a train run, cold tracks have predicted ones. A
user without factors gets popular tracks. Tracks that the user has
played are left out (topn.exclude_heard). Held-out plays don't count as played when lists are measured by them. With
topn.repeats, a second list of each user, in the table repeats, ranks just the tracks that the user has played.

evaluation.protocol=none writes the lists, and publishes them unless topn.publish=false. strict and paper measure the
model beside random, popularity, artist_popularity, same_artist, the network and the regression alone, under strict also
item_knn and ease, and true_factors (the bound), on the slices all, warm, cold, head and tail; evaluation.per_user also
writes each user's values. Under strict, the candidates are the warm and the test tracks. Under paper, they are the test
tracks; nothing is left out, and popularity counts their plays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import fitting
from etude.content import has_features
from etude.errors import DataCheckError, InputMissingError
from etude.interactions import plays_until, unlike_plays
from etude.job import JobRun, main
from etude.lake import Metric, ledger
from etude.ranking import inputs, spread
from etude.ranking.models import Known, make_plan
from etude.ranking.never import read_never
from etude.ranking.plan import Plan
from etude.ranking.task import Checks
from etude.splits import training_plays
from etude.vectors import collect_all


def run(job: JobRun) -> None:
    """Collect the candidates, rank every user against them, check, write the lists, measure."""
    wmf = job.upstream("wmf")
    train, protocol = train_run(job, wmf), job.settings.evaluation.protocol
    blend = blend_run(job)
    evaluated = protocol != "none"
    splits, tracks, users = job.read("splits", run_id=wmf), job.read("tracks"), job.read("users")
    interactions = job.read("interactions", fitting.split_version(job.graph, wmf) if evaluated else None)
    training = training_plays(interactions, splits, protocol)

    settings, days = job.settings.topn, job.settings.topn.exclude_heard_days
    never = None if settings.never is None else read_never(settings.never, users, tracks, job.log)
    facts = inputs.track_facts(tracks, training, splits, settings.candidates, never.tracks if never else None)
    known = known_factors(job, wmf, train, blend, facts)
    excludes = settings.exclude_heard and protocol != "paper"
    n_users = users.count()
    if protocol == "strict" and excludes and days is None and never is None:
        size = n_users, int(known.facts.listeners.sum())
        neighbours = inputs.neighbours_of(*size, training, splits, known.fitted.idx, job.settings.evaluation, job.log)
        known = replace(known, neighbours=neighbours)
        job.note("neighbours", {name: each.chosen for name, each in neighbours.items()})
    plan = plan_of(job, known)
    heard = relevant = played = training.limit(0)
    if excludes and evaluated:
        heard = training if days is None else inputs.recent(training, job.batch_date, days)
    elif excludes:
        heard = heard_plays(job, days, users, tracks)
    if plan.repeats:
        played = heard if excludes and days is None else heard_plays(job, None, users, tracks)
        played = played if never is None else played.join(never.pairs, ["user_idx", "track_idx"], "left_anti")
    if never is not None:
        heard = heard.select("user_idx", "track_idx").union(never.pairs).distinct()
    if evaluated:
        relevant = inputs.relevant_plays(interactions, splits, job.settings.evaluation.measured_split)
    rows = spread.user_rows(users, job.read("user_factors", run_id=wmf), heard, relevant, played)
    done = spread.ranked(rows, plan, known.fitted.rank, tasks(job, n_users))

    found = spread.checks(done)
    check(job, found)
    if plan.repeats:
        job.count("repeats", found.repeats)
    job.replace("recommendations", spread.list_rows(done, tracks, plan))
    write_if(job, "repeats", plan.repeats > 0, spread.repeat_rows(done, tracks, plan))
    write_if(job, "user_metrics", plan.per_user, spread.user_metric_rows(done, plan))
    if evaluated:
        job.metrics(spread.measured(done, plan))
    else:
        job.metrics(served_shares(found, plan))
        job.publishes = job.settings.topn.publish
    done.unpersist()


def heard_plays(job: JobRun, days: int | None, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return user_idx, track_idx of all plays, or of those in the last days until the batch date.

    If `interactions` has every play of the lake, it is read: it has indices already.
    """
    if days is None and unlike_plays(job.lake, job.graph) is None:
        return job.read("interactions").select("user_idx", "track_idx")
    plays = job.read("plays")
    return inputs.heard_plays(plays if days is None else plays_until(plays, job.batch_date, days), users, tracks)


def train_run(job: JobRun, wmf: str) -> str | None:
    """Return the train run whose predictions are ranked; None, with a line in the log, if there is none or none fits.

    Raises:
        InputMissingError: there is none, but inputs.train_run_id or protocol paper needs one.
        DataCheckError: it doesn't fit the wmf run, but inputs.train_run_id or protocol paper needs it.
    """
    needed = job.settings.inputs.train_run_id is not None or job.settings.evaluation.protocol == "paper"
    try:
        train = job.upstream("train")
        problem = fitting.problem_of(job.graph, train, wmf, job.read("predicted_factors", run_id=train))
        if problem is None:
            return train
        if needed:
            raise DataCheckError(problem)
    except InputMissingError as error:
        if needed:
            raise
        problem = str(error)
    job.record.upstream.pop("train", None)
    if not has_features(job.lake):
        job.log.info("the lists hold warm tracks only: no track has sound, artist, year or tags")
        return None
    job.log.warning("cold tracks have no factors, so the lists hold warm tracks only: %s", problem)
    return None


def blend_run(job: JobRun) -> str | None:
    """Return the blend run whose factors are ranked; None if there is none, or separate factors are to be ranked.

    Raises:
        InputMissingError: inputs.blend_run_id names a run that hasn't succeeded.
        DataCheckError: the run was built on another wmf run, or on one that has run again since.
    """
    settings = job.settings
    if not fitting.ranks_blended(settings):
        return None
    try:
        blend = job.upstream("blend")
    except InputMissingError:
        if settings.inputs.blend_run_id is not None:
            raise
        return None
    problem = fitting.blend_problem(job.graph, blend, job.record.upstream)
    if problem is None:
        return blend
    if settings.inputs.blend_run_id is not None:
        raise DataCheckError(problem)
    job.log.warning("fitted and predicted factors are ranked, not blended ones: %s", problem)
    del job.record.upstream["blend"]
    return None


def known_factors(job: JobRun, wmf: str, train: str | None, blend: str | None, facts: inputs.TrackFacts) -> Known:
    """Collect the candidates' factors, after a check of their size.

    Raises:
        InputMissingError: there are no track factors.
    """
    limit = inputs.size_limit(job.settings.topn)
    mixed = [] if blend is None else blended_frames(job, blend)
    name, seed = network_of(job, train) if train else ("", 0)
    if mixed and job.settings.evaluation.protocol == "none":  # nothing else is ranked
        played, unplayed = collect_all(mixed, "track_idx", limit)
        some = played if len(played) else unplayed
        none = some.where(np.zeros(len(some), bool))
        blended = played, unplayed
        return Known(fitted=none, held_out=none, predicted=None, facts=facts, model=name, seed=seed, blended=blended)
    of_tracks, held_out = job.read("track_factors", run_id=wmf), F.col("origin") == "held_out"
    frames = [of_tracks.where(~held_out), of_tracks.where(held_out)]
    if train is not None:
        frames.append(job.read("predicted_factors", run_id=train))
    frames += mixed
    alone = predicted_alone(job, wmf, train) if train is not None and name != "ridge" else {}
    collected = collect_all([*frames, *alone.values()], "track_idx", limit)
    fitted, withheld, *others = collected[: len(frames)]
    if not len(fitted) + len(withheld):
        raise InputMissingError(f"wmf run {wmf} has no track factors: run jobs/wmf.py again")
    return Known(
        fitted=fitted,
        held_out=withheld,
        predicted=others[0] if train is not None else None,
        blended=(others[-2], others[-1]) if mixed else None,
        alone=dict(zip(alone, collected[len(frames) :], strict=True)),
        facts=facts,
        model=name,
        seed=seed,
    )


def blended_frames(job: JobRun, blend: str) -> list[DataFrame]:
    """Return the blended factors of the tracks with listeners, and of those without."""
    every, unplayed = job.read("blended_track_factors", run_id=blend), F.col("listeners") == 0
    return [every.where(~unplayed), every.where(unplayed)]


def plan_of(job: JobRun, known: Known) -> Plan:
    """Return the plan of the ranking; record the numbers of candidates."""
    plan = make_plan(known, job.settings.topn, job.settings.evaluation)
    job.count("candidates", plan.sizes["all"])
    job.count("candidates_cold", plan.sizes["cold"])
    return plan


def predicted_alone(job: JobRun, wmf: str, train: str) -> dict[str, DataFrame]:
    """Return both predictions that the measured tracks' predicted factors consist of; none if nothing is measured."""
    if job.settings.evaluation.protocol == "none":
        return {}
    split = job.settings.evaluation.measured_split
    held_out = job.read("splits", run_id=wmf, kind="track", split=split).select("track_idx")
    rows = job.read("predicted_factors", run_id=train).join(held_out, on="track_idx")
    return {name: rows.select("track_idx", F.col(name).alias("factors")) for name in ("network", "ridge")}


def write_if(job: JobRun, table: str, wanted: bool, rows: DataFrame) -> None:
    """Write a table that the settings ask for; otherwise remove what an earlier attempt wrote."""
    if wanted or (job.record.attempt > 1 and job.lake.exists(table)):
        job.replace(table, rows)


def network_of(job: JobRun, train: str) -> tuple[str, int]:
    """Return model name and seed of the network that a train run trained."""
    run = ledger.find(job.lake, "train", train)
    settings = run.settings.get("train", {}) if run else {}
    return settings.get("model", "model"), settings.get("seed", 0)


def tasks(job: JobRun, users: int) -> int:
    """Return the number of tasks that share the users."""
    job.count("users", users)
    return max(job.spark.sparkContext.defaultParallelism, -(-users // job.settings.topn.users_per_task))


def check(job: JobRun, found: Checks) -> None:
    """Record the counts, and stop before anything is written if they can't be right.

    Raises:
        DataCheckError: a factor or score is not finite, or a list is shorter than its candidates allow.
    """
    job.count("recommendations", found.rows)
    job.count("recommendations_cold", found.cold)
    job.count("recommendations_light", found.light)
    job.count("users_by_popularity", found.fallback)
    job.count("relevant_out_of_reach", found.out_of_reach)
    if found.bad_factors or found.bad_scores:
        raise DataCheckError(
            f"factors of {found.bad_factors} users and {found.bad_scores} scores are not finite; expected none"
        )
    if found.short:
        raise DataCheckError(f"{found.short} of {found.users} lists are shorter than their candidates allow")
    share = found.cold / max(found.rows, 1)
    if job.settings.evaluation.protocol == "none" and share > job.settings.topn.cold_warning:
        job.log.warning(
            "%.0f%% of all positions hold tracks without plays; topn.cold_warning expects at most %.0f%%: compare the "
            "slice catalogue of an evaluation, and lower blend.new_share or blend.unplayed_length",
            *(100 * share, 100 * job.settings.topn.cold_warning),
        )


def served_shares(found: Checks, plan: Plan) -> list[Metric]:
    """Return the shares of cold and of light tracks among all positions of the lists."""
    shares = {"cold_share": found.cold, "light_share": found.light}
    return [
        Metric(plan.final.name, "all", name, n / max(found.rows, 1), k=plan.n, seed=plan.final.seed)
        for name, n in shares.items()
    ]


if __name__ == "__main__":
    main("topn", run, __doc__)
