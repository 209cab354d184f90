"""Run the paper's experiments: train networks on one factorisation, judge them, write a page of results.

It runs ingest, mel and wmf if they have anything to do, and a train run for every network, protocol and seed of
compare.parts. A train run that has succeeded is not repeated, so the same command goes on where a comparison was
stopped. Part knobs makes demo corpora and lakes of its own below compare.corpora. The page (Markdown), its pictures and
the figures as JSON go to compare.path.

The trainings are trials: no other run builds on one unless it names it, and nothing is published.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from etude import storage
from etude.arguments import Arguments, check_room
from etude.causes import NOT_FINITE
from etude.comparison import steps
from etude.comparison.bootstrap import Figures
from etude.comparison.curves import Curve, curve_of
from etude.comparison.judging import Source, epochs_of, figures_of
from etude.comparison.page import Judges, Results, pages
from etude.comparison.trials import MODELS, Trial, rates, trials
from etude.content import has_features
from etude.demo.corpus import build
from etude.errors import EtudeError, InputMissingError
from etude.job import JobRun, main
from etude.lake import Lake, folders, ledger
from etude.running import as_begun, run_step

_KNOB_MODELS = ("cnn_lstm", "embeddings", "fusion")
_KNOB_SEEDS = 3
_PAGE_K = 20


def run(job: JobRun) -> None:
    """Run the trials, judge them, write the page."""
    settings = job.settings.compare
    check_room(job.run_id, steps.LONGEST_RUN_ID, "a comparison's")
    planned = trials(settings)
    diverged = run_trials(job, as_begun(job, job.arguments), planned)
    job.count("trials", len(planned))
    job.count("trials_diverged", len(diverged))
    knobs = run_knobs(job) if "knobs" in settings.parts else {}
    # The graph is loaded when it is first asked for: now it knows the trials.
    source = Source(job.read, job.graph, job.lake.root, job.run_id, job.settings)
    judges, figures = {}, {}
    for protocol in dict.fromkeys(trial.protocol for trial in planned):
        contest = source.contest(protocol, "test")
        judges[protocol] = Judges(len(contest.users), contest.candidates, len(contest.relevant.rows))
        mine = [trial for trial in planned if trial.protocol == protocol and not trial.variant.of_rates]
        if mine:
            figures[protocol] = figures_of(source, contest, mine)
    results = Results(
        settings=settings,
        command=storage.shown(shlex.join(["spark-submit", "jobs/compare.py", *sys.argv[1:]])),
        corpus=job.settings.report.note or "",
        k=page_k(job),
        cuts=sorted(set(job.settings.evaluation.k)),
        trained=len(planned),
        judges=judges,
        figures=figures,
        curves=learning_curves(source, diverged, page_k(job)) if "figure3" in settings.parts else {},
        knobs=knobs,
    )
    write(job, results)


def page_k(job: JobRun) -> int:
    """Return the length of list that the page's tables show."""
    return min(job.settings.evaluation.k, key=lambda k: abs(k - _PAGE_K))


def run_trials(job: JobRun, arguments: Arguments, planned: Sequence[Trial]) -> set[str]:
    """Run what precedes the trainings, and the trainings; return the names of those whose loss stopped being finite.

    Raises:
        InputMissingError: no track has anything that a network could read.
    """
    lake = Lake(arguments.settings.lake.root, job.spark)
    for step in steps.first_steps(arguments, tuple(dict.fromkeys(trial.protocol for trial in planned))):
        if step.stage == "wmf" and not has_features(lake):
            raise InputMissingError(
                "no track has sound, artist, year or tags, so there is nothing to train on; set catalogue.sources, "
                "audio.manifest or audio.root"
            )
        run_step(job, step)
    diverged: set[str] = set()
    for trial in job.progress(planned, "trainings", len(planned)):
        if not stayed_finite(job, arguments, trial):
            diverged.add(trial.name)
    return diverged


def stayed_finite(job: JobRun, arguments: Arguments, trial: Trial) -> bool:
    """Run a training; return whether its loss stayed finite: a learning rate that is too high is a result, no failure.

    Raises:
        EtudeError: it failed for another reason, or it is none of the trainings that compare learning rates.
    """
    try:
        run_step(job, steps.train_step(arguments, trial))
    except EtudeError as error:
        if NOT_FINITE not in str(error) or not trial.variant.of_rates:
            raise
        return False
    return True


def run_knobs(job: JobRun) -> dict[float, Figures]:
    """Make a corpus for every audible share, and train on it; return the figures by share."""
    compare, found = job.settings.compare, {}
    planned = [Trial(MODELS[name], "strict", seed) for seed in compare.seeds[:_KNOB_SEEDS] for name in _KNOB_MODELS]
    for share in compare.audible_shares:
        folder = Path(compare.corpora) / f"audible-{share:g}"
        build(folder, steps.knob_corpus(job.settings.demo, share))
        arguments = steps.knob_arguments(job.arguments, folder)
        run_trials(job, as_begun(job, arguments), planned)
        lake = Lake(arguments.settings.lake.root, job.spark)
        source = Source(lake.read, ledger.graph(lake), lake.root, job.run_id, arguments.settings)
        found[share] = figures_of(source, source.contest("strict", "test"), planned)
    return found


def learning_curves(source: Source, diverged: set[str], k: int) -> dict[str, Curve]:
    """Return the curves of every learning rate."""
    compare, found = source.settings.compare, {}
    protocol = compare.protocols[0]
    contest = source.contest(protocol, "validation")
    for variant in rates(compare):
        runs = [Trial(variant, protocol, seed) for seed in compare.seeds]
        found[variant.label] = curve_of(
            [None if trial.name in diverged else epochs_of(source, contest, trial, k) for trial in runs]
        )
    return found


def write(job: JobRun, results: Results) -> None:
    """Write the page and the files beside it."""
    path = storage.to_uri(folders.report(job.lake.root, job.run_id, job.settings.compare.path, ".md"))
    stem = path.removesuffix(".md")
    for suffix, content in pages(results, stem.rsplit("/", 1)[-1]).items():
        storage.write_bytes(stem + suffix, content.encode())
    job.note("results", path)
    job.log.info("results=%s", path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Set the run_id to `compare`, so that the same command goes on where it was stopped."""
    parser.set_defaults(run_id="compare")


if __name__ == "__main__":
    main("compare", run, __doc__, add_arguments)
