"""Run stages inside another job's session, if they have anything to do."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module

from etude import fitting
from etude.arguments import Arguments
from etude.content import has_audio, has_features
from etude.errors import EtudeError, SettingsError
from etude.job import JobRun, execute
from etude.lake import ledger
from etude.lake.lake import Lake
from etude.pipeline import Step, fingerprints, up_to_date


def as_begun(job: JobRun, arguments: Arguments) -> Arguments:
    """Return the arguments with the batch date on which a job's first step ran, so that it can go on on another day.

    Args:
        job: the job that runs ingest under its own run_id before all other steps.
        arguments: those of its steps.

    Raises:
        SettingsError: another batch date was asked for.
    """
    first = ledger.find(Lake(arguments.settings.lake.root), "ingest", job.run_id)
    if first is None or first.batch_date == job.batch_date:
        return arguments
    if arguments.dated:
        raise SettingsError(
            f"--batch-date {job.batch_date}: run {job.run_id} works for {first.batch_date}; leave --batch-date out to "
            "go on with it, or give another --run-id"
        )
    job.log.info("batch_date=%s reason='run %s began on that day'", first.batch_date, job.run_id)
    return replace(arguments, batch_date=first.batch_date)


def run_step(job: JobRun, step: Step) -> str:
    """Run a stage in the lake of its own settings, unless it has nothing to do; return the outcome in words.

    Raises:
        EtudeError: it failed; the error has the reason and the exit status of its job.
    """
    arguments = step.arguments
    lake = Lake(arguments.settings.lake.root, job.spark)
    outside = fingerprints(step.stage, arguments.settings, arguments.batch_date)
    if up_to_date(step, lake, outside):
        job.log.info("stage=%s run_id=%s skipped: up to date", step.stage, arguments.run_id)
        return "up to date"
    if step.stage == "mel" and not has_audio(arguments.settings, lake):
        job.log.info("stage=mel skipped: no audio.manifest, no audio.root and no audio_uri in tracks")
        return "no audio"
    if step.stage in ("train", "blend") and not has_features(lake):
        job.log.info("stage=%s skipped: no track has sound, artist, year or tags", step.stage)
        return "no features"
    if step.stage == "blend" and not fitting.ranks_blended(arguments.settings):
        job.log.info("stage=blend skipped: topn.factors=separate, or evaluation.protocol=paper")
        return "not ranked"
    body = import_module(step.stage).run
    outcome = execute(step.stage, body, job.spark, arguments, job.log, outside, parent=job.run_id)
    if outcome.exit_code:
        reason = json.loads(outcome.line)["error"]
        error = EtudeError(f"{step.stage} run {arguments.run_id} failed: {reason}")
        error.exit_code = outcome.exit_code
        raise error
    return "done"
