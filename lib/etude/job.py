"""Keep the contract of every job: arguments, settings, session, run ledger, exit status and the JSON line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from pyspark.sql import SparkSession

import etude
from etude import storage
from etude.arguments import Arguments, MoreArguments, parse_arguments
from etude.causes import cause_of
from etude.config import redacted
from etude.errors import EtudeError, LeaseTakenError, SettingsError
from etude.job_run import JobRun
from etude.lake import folders, ledger
from etude.lake.lake import Lake
from etude.lake.lease import leased
from etude.lake.runs import Run, json_line, summary, utc_now
from etude.logs import job_logger, ticking
from etude.session import spark_session, spark_work
from etude.small_session import is_small, small_session
from etude.stages import stage_of

__all__ = ["Arguments", "JobRun", "Outcome", "execute", "main", "parse_arguments", "run_program"]


_COMMITTER = "spark.databricks.delta.commitInfo.userMetadata"

Body = Callable[[JobRun], None]


@dataclass(frozen=True)
class Outcome:
    """Hold how a job ended: its exit status and the JSON line."""

    exit_code: int
    line: str


def main(name: str, body: Body, doc: str | None, more_arguments: MoreArguments | None = None) -> NoReturn:
    """Run a job as a program: parse, start Spark, run, record, print the JSON line, exit with its status."""
    outcome = run_program(name, body, doc, sys.argv[1:], more_arguments)
    print(outcome.line, flush=True)
    sys.exit(outcome.exit_code)


def run_program(
    name: str, body: Body, doc: str | None, argv: Sequence[str], more_arguments: MoreArguments | None = None
) -> Outcome:
    """Do all that `main` does but print and exit."""
    log, started = job_logger(), time.monotonic()
    known: dict[str, Any] = {"job": name, "status": "failed"}
    try:
        arguments = parse_arguments(name, stage_of(name).sections, doc, argv, more_arguments)
        known |= {"run_id": arguments.run_id, "batch_date": arguments.batch_date, "lake": arguments.settings.lake.root}
        with spark_session(f"etude {name}", arguments.settings.spark, arguments.settings.lake) as spark:
            return execute(name, body, spark, arguments, log)
    except SystemExit:  # --help
        raise
    except BaseException as error:  # deltalake's panics are no Exception
        code = explain(log, name, error)
        return Outcome(code, json_line(time.monotonic() - started, {**known, "error": cause_of(error)}))


def execute(
    name: str,
    body: Body,
    spark: SparkSession,
    arguments: Arguments,
    log: logging.Logger,
    fingerprints: Mapping[str, int] | None = None,
    parent: str | None = None,
) -> Outcome:
    """Run a job's body in a session, under the lease of its batch or stage, with ledger and status file.

    Args:
        name: a stage of the registry.
        body: the job's `run` function.
        spark: the session.
        arguments: what the command line said.
        log: the logger.
        fingerprints: hashes of files outside the lake, by setting, for the ledger.
        parent: run_id of the run that starts this one.
    """
    settings, stage = arguments.settings, stage_of(name)
    writer = f"job={name} run_id={arguments.run_id}"
    lake = Lake(settings.lake.root, spark, writer)
    record = Run(
        run_id=arguments.run_id,
        job=name,
        batch_date=arguments.batch_date,
        protocol=settings.evaluation.protocol,
        started_at=utc_now(),
        parent=parent,
        settings=redacted(settings),
        fingerprints=dict(fingerprints or {}),
        package_version=etude.__version__,
    )
    job = JobRun(stage, spark, settings, lake, record, log, arguments)
    before = spark.conf.get(_COMMITTER, "") or ""
    spark.conf.set(_COMMITTER, writer)
    log.info("job=%s run_id=%s batch_date=%s lake=%s", name, record.run_id, record.batch_date, lake.root)
    lease = ledger.lease(lake, record)
    started = time.monotonic()
    try:
        with leased(spark, lease, record.run_id, settings.lake.lease_timeout_s) as check_lease:
            job.check_lease = check_lease
            return _recorded(job, body, started)
    except (LeaseTakenError, SettingsError) as error:  # before it had a row in `runs`
        record.status, record.error = "failed", str(error)
        return Outcome(explain(log, name, error), _summary(job, started))
    finally:
        with suppress(Exception):  # Java may have died
            spark.conf.set(_COMMITTER, before)


def _recorded(job: JobRun, body: Body, started: float) -> Outcome:
    job.earlier = ledger.begin(job.lake, job.record)
    # A status file of an earlier attempt would pass for this one's if this process is killed.
    _write_status(job, _summary(job, started))
    code = 0
    try:
        with ticking(job.log, job.stage.name, lambda: spark_work(job.spark)), _session_for(job):
            body(job)
        job.check_lease()
        job.write_metrics()
        job.record.status = "succeeded"
    except Exception as error:
        code = explain(job.log, job.stage.name, error)
        job.record.status, job.record.error = "failed", cause_of(error)
    except BaseException as error:
        job.record.status, job.record.error = "failed", f"stopped by {type(error).__name__}"
        raise
    finally:
        with suppress(Exception):  # if Java has died, the ledger shall say so
            job.spark.catalog.clearCache()
        job.record.ended_at = utc_now()
        if not _superseded(job):
            ledger.write(job.lake, job.record)
    if code == 0 and job.publishes:
        code = _published(job)
    line = _summary(job, started)
    if not _superseded(job):
        _write_status(job, line)
    return Outcome(code, line)


def _published(job: JobRun) -> int:
    """Publish the run, which has succeeded so far; return the exit status.

    A run that can't publish has failed: otherwise a pipeline would find it up to date, and never publish it.
    """
    try:
        job.write_release()
    except Exception as error:
        job.record.status, job.record.error = "failed", f"not published: {cause_of(error)}"
        return explain(job.log, job.stage.name, error)
    finally:
        ledger.write(job.lake, job.record)
    return 0


def _superseded(job: JobRun) -> bool:
    """Tell if another attempt under this run_id has taken over: what the ledger and the status file say is its own."""
    try:
        job.check_lease()
    except LeaseTakenError:
        now = ledger.find(job.lake, job.stage.name, job.run_id)
        return now is not None and now.attempt > job.record.attempt
    return False


def _session_for(job: JobRun) -> AbstractContextManager[None]:
    """Return the context in which the job's body runs: that of a small input, or the session as it is."""
    if not is_small(job.stage, job.settings, job.batch_date, job.lake):
        return nullcontext()
    job.log.info(
        "job=%s session=small reason='at most spark.small_input_mb=%d'",
        job.stage.name,
        job.settings.spark.small_input_mb,
    )
    return small_session(job.lake, job.settings)


def _write_status(job: JobRun, line: str) -> None:
    storage.write_bytes(folders.status(job.lake.root, job.run_id, job.stage.name), line.encode())


def _summary(job: JobRun, started: float) -> str:
    return summary(job.record, time.monotonic() - started, job.lake.root)


def explain(log: logging.Logger, name: str, error: BaseException) -> int:
    """Log what went wrong, in one line if a person can act on it; return the exit status."""
    if isinstance(error, EtudeError):
        for line in str(error).splitlines():
            log.error("job=%s status=failed error=%s", name, line)
        return error.exit_code
    log.error("job=%s status=failed error=%s", name, cause_of(error), exc_info=error)
    return 1
