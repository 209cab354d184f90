"""Run all stages in one process and one session: ingest, mel, wmf, train, blend, topn and the report.

wmf, train, blend and topn run twice: under the evaluation protocol (run_id with the suffix -eval) for the report's
metrics, and under protocol none for the lists that are published. A stage is skipped if its run under the same run_id
has succeeded with the same settings and inputs. The default run_id is the batch date, so the same command continues a
pipeline that was stopped, and computes only what is new after one that wasn't. --from and --to name the first and the
last stage.
"""

from __future__ import annotations

import argparse

from etude import stages
from etude.causes import NOTHING_TO_LEARN
from etude.errors import EtudeError, InputMissingError
from etude.job import JobRun, main
from etude.lake.runs import utc_now
from etude.pipeline import Step, steps
from etude.report.facts import Line
from etude.report.gather import sample_lists
from etude.running import run_step

_UNMEASURED, _UNLEARNT = "nothing to measure", "nothing to learn"


def run(job: JobRun) -> None:
    """Run the steps that are not up to date, in order; the first failure ends the pipeline with its exit status.

    An evaluation that finds nothing to measure is no failure: a small log's tracks may all be held out. Nor is content
    of tracks alone that nobody has played: nothing can be learnt from it, and the lists hold warm tracks.
    """
    planned = steps(job.arguments, job.arguments.extra["from"], job.arguments.extra["to"])
    done: dict[str, str] = {}
    for step in job.progress(planned, "stages", len(planned)):
        measurable = _UNMEASURED not in done.values()
        name, run_id = f"{step.stage} {step.arguments.run_id}", step.arguments.run_id
        if step.evaluates and not measurable:
            done[name] = _UNMEASURED
        elif step.stage == "blend" and done.get(f"train {run_id}") == _UNLEARNT:
            done[name] = _UNLEARNT
        else:
            try:
                done[name] = run_step(job, step if measurable else step.without_evaluation())
            except EtudeError as error:
                done[name] = dispensable(job, step, error)
        job.note("stages", done)
    if any(name.startswith("topn") and outcome == "done" for name, outcome in done.items()):
        print_samples(job)
    if planned[-1].stage in ("topn", "report"):
        look = "etude user RAW_ID --lake %s | etude sql 'SELECT * FROM recommendations_current LIMIT 20' --lake %s"
        job.log.info(f"next: {look}", job.lake.root, job.lake.root)


def dispensable(job: JobRun, step: Step, error: EtudeError) -> str:
    """Return in a few words why a pipeline goes on without a stage that has failed.

    Raises:
        EtudeError: it can't go on.
    """
    if step.stage == "train" and NOTHING_TO_LEARN in str(error):
        job.log.warning("%s; the lists hold warm tracks only", error)
        return _UNLEARNT
    if step.evaluates and error.exit_code == InputMissingError.exit_code:
        job.log.warning("stage=%s evaluation=none reason=%r; lists are made all the same", step.stage, str(error))
        return _UNMEASURED
    raise error


def print_samples(job: JobRun) -> None:
    """Print the head of a few users' lists; the JSON line stays the last line on standard output."""
    settings = job.settings.report.model_copy(
        update={"sample_users": job.settings.pipeline.samples, "sample_length": 3}
    )
    for sample in sample_lists(job, job.run_id, settings):
        liked = sample.played[0] if sample.played else None
        who = f"user_idx {sample.user_idx}"
        print(f"{who}, who plays {named(liked)} most, may like:" if liked else f"{who}:")
        for position, line in enumerate(sample.recommended, start=1):
            print(f"  {position}. {named(line)} ({line.source}, score {line.number:.3f})")


def named(line: Line) -> str:
    """Return title and artist of a track, or its track_id if it has no title."""
    return (
        f"{line.title or line.track_id} by {line.artist_name}" if line.artist_name else str(line.title or line.track_id)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --from and --to, and set --batch-date to today, so that the run_id follows from it."""
    parser.set_defaults(batch_date=utc_now().date().isoformat())
    names = [stage.name for stage in stages.steps()]
    parser.add_argument("--from", choices=names, default=names[0], help="first stage (default: %(default)s)")
    parser.add_argument("--to", choices=names, default=names[-1], help="last stage (default: %(default)s)")


if __name__ == "__main__":
    main("pipeline", run, __doc__, add_arguments)
