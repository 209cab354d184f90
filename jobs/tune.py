"""Choose rank, confidence and regularization of wmf by how well validation plays are ranked.

Every trial is a wmf run under protocol strict and a topn run measured by validation plays; test plays are not read. The
first trial has the settings as given. The best points of a rank are tried with the next of tune.ranks. The best of the
last rank is written to tune.path as YAML: pass it by --config to the other jobs.

A trial that has succeeded is not repeated, so the same command goes on where a search was stopped. Trials are chosen by
no other run and publish nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from etude import storage
from etude.arguments import Arguments, check_room
from etude.job import JobRun, main
from etude.lake import folders
from etude.pipeline import Step
from etude.running import as_begun, run_step
from etude.tuning import Point, best, layer, points, steps_of, value_of

_LONGEST = 44
"""Characters of a search's run_id, so that those of its trials have at most 64."""


def run(job: JobRun) -> None:
    """Try the points, rank by rank; write the best."""
    tune = job.settings.tune
    check_room(job.run_id, _LONGEST, "a search's")
    arguments = as_begun(job, job.arguments.changed(evaluation={"protocol": "none"}))
    run_step(job, Step("ingest", arguments))
    drawn = points(job.settings.wmf, tune)
    chosen, values, trials = list(range(len(drawn))), dict[int, float](), list[str]()
    for rank in tune.ranks:
        watched = job.progress(chosen, f"rank {rank}", len(chosen))
        values = {number: tried(job, arguments, drawn[number], number, rank) for number in watched}
        trials += [drawn[number].run_id(job.run_id, number, rank) for number in values]
        order = best(values, 1.0)
        job.log.info("rank=%d best=%s", rank, {number: round(values[number], 4) for number in order[:5]})
        # The settings as given come along, so that what was found is compared with them at every rank.
        chosen = list(dict.fromkeys([*best(values, tune.keep), 0]))
    found, rank = order[0], tune.ranks[-1]
    job.count("trials", len(trials))
    job.note("tried", trials)
    job.note("best", {"rank": rank, **asdict(drawn[found]), tune.metric: round(values[found], 5)})
    job.note("as_given", {"rank": rank, **asdict(drawn[0]), tune.metric: round(values[0], 5)})
    write(job, layer(drawn[found], rank, said(job, values[found], values[0])))


def tried(job: JobRun, arguments: Arguments, point: Point, number: int, rank: int) -> float:
    """Try a point with a rank; return its value.

    Raises:
        InputMissingError: nobody has validation plays.
    """
    for step in steps_of(point, number, rank, arguments):
        run_step(job, step)
    return value_of(
        job.lake.look("metrics", job="topn", run_id=point.run_id(job.run_id, number, rank)), job.settings.tune
    )


def said(job: JobRun, value: float, as_given: float) -> str:
    """Return the comment of the layer."""
    tune = job.settings.tune
    return (
        f"Found by jobs/tune.py, run {job.run_id}: {tune.metric}@{tune.k} of validation plays (protocol strict, warm\n"
        f"tracks) is {value:.4f}, the best of {tune.points} points; with the settings as given it is {as_given:.4f}."
    )


def write(job: JobRun, content: str) -> None:
    """Write the layer of settings."""
    path = storage.to_uri(folders.report(job.lake.root, job.run_id, job.settings.tune.path, ".yaml"))
    storage.write_bytes(path, content.encode())
    job.note("settings", path)
    job.log.info("settings=%s", path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Set the run_id to `tune`, so that the same command goes on where it was stopped."""
    parser.set_defaults(run_id="tune")


if __name__ == "__main__":
    main("tune", run, __doc__, add_arguments)
