"""The contract of every job: arguments, settings, session, run ledger, exit status and the JSON line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NoReturn, TypeVar

from pyspark.sql import DataFrame, SparkSession

import etude
from etude import storage
from etude.arguments import Arguments, MoreArguments, parse_arguments
from etude.config import Settings, redacted_json
from etude.errors import BatchHeldError, EtudeError
from etude.lake.hold import batch_hold
from etude.lake.lake import Lake
from etude.lake.ledger import Ledger, RunRecord, json_line, summary, utc_now
from etude.lake.metrics import Metric
from etude.lake.tables import METRICS, TABLES
from etude.logs import job_logger, progress, ticking
from etude.session import spark_session, spark_work

__all__ = ["Arguments", "JobRun", "Outcome", "execute", "main", "parse_arguments", "run_program"]

# Their tables are shared by all batches: two at once would both give the next new user the same index.
_ONE_AT_A_TIME = ("ingest", "mel")
_Item = TypeVar("_Item")


@dataclass
class JobRun:
    """What a job's `run` function is given: session, settings, the lake, and a notebook for the ledger."""

    name: str
    spark: SparkSession
    settings: Settings
    lake: Lake
    ledger: Ledger
    record: RunRecord
    log: logging.Logger
    arguments: Arguments
    _metric_rows: list[Metric] = field(default_factory=list)
    _facts: dict[str, Any] = field(default_factory=dict)
    _into_force: dict[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of this run."""
        return self.record.run_id

    @property
    def batch_date(self) -> date:
        """The batch (UTC date) this run works for."""
        return self.record.batch_date

    @property
    def resume(self) -> bool:
        """Whether the run goes on where an earlier attempt of its run_id stopped."""
        return self.arguments.resume

    def read(self, table: str, version: int | None = None, **equals: Any) -> DataFrame:
        """Rows of a table where every `column=value` holds; the version read goes into the ledger.

        The version is pinned at the first read, so that everything a run reads of a table is one snapshot.
        """
        if version is None:
            version = self.record.inputs.get(table)
        if version is None:
            version = self.lake.version(table)
        if version is not None:
            self.record.inputs[table] = version
        return self.lake.read(table, version, **equals)

    def replace(self, table: str, rows: DataFrame, **equals: Any) -> None:
        """Put `rows` in the place of this run's rows (tables with run_ids) or of all rows where `equals` holds."""
        if "run_id" in TABLES[table].column_names:
            equals.setdefault("run_id", self.run_id)
        if "job" in TABLES[table].column_names:
            equals.setdefault("job", self.name)
        self.record.outputs[table] = self.lake.replace(table, rows, **equals)

    def merge(self, table: str, rows: DataFrame) -> None:
        """Upsert `rows` by the table's key."""
        self.record.outputs[table] = self.lake.merge(table, rows)

    def delete(self, table: str, keys: DataFrame) -> None:
        """Remove the rows whose key stands in `keys`."""
        self.record.outputs[table] = self.lake.delete(table, keys)

    def upstream(self, job: str) -> str:
        """run_id of the earlier stage's run that this run builds on (see Ledger.upstream); remembered."""
        if job not in self.record.upstream:
            asked = getattr(self.settings.inputs, f"{job}_run_id", None)
            self.record.upstream[job] = self.ledger.upstream(job, asked, self.record)
        return self.record.upstream[job]

    def count(self, name: str, n: int) -> None:
        """Note a number of rows for the JSON line and the ledger."""
        self.record.row_counts[name] = int(n)

    def note(self, key: str, value: Any) -> None:
        """Add a fact to the JSON line."""
        self._facts[key] = value

    def metrics(self, rows: Iterable[Metric]) -> None:
        """Keep figures for the `metrics` table; written when the job ends well."""
        self._metric_rows.extend(rows)

    def make_current(self, run_ids: dict[str, str]) -> None:
        """Bring runs into force (table -> run_id) once this job has succeeded, unless a later batch's are."""
        self._into_force = dict(run_ids)

    def progress(self, items: Iterable[_Item], desc: str, total: int | None = None) -> Iterator[_Item]:
        """Pass items on, showing how far the work is."""
        return progress(items, desc, total, self.log)

    def write_metrics(self) -> None:
        """Write what `metrics` kept, in the place of what an earlier attempt did."""
        if not self._metric_rows and (self.record.attempt == 1 or self.name not in METRICS.written_by):
            return
        whose = {"run_id": self.run_id, "job": self.name}
        common = whose | {"protocol": self.record.protocol}
        rows = [common | row._asdict() | {"value": float(row.value)} for row in self._metric_rows]
        self.record.outputs["metrics"] = self.lake.put("metrics", rows, **whose)


Body = Callable[[JobRun], None]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit status and the JSON line that says so."""

    exit_code: int
    line: str


def main(
    name: str, body: Body, sections: Sequence[str], doc: str | None, more_arguments: MoreArguments | None = None
) -> NoReturn:
    """Run a job as a program: parse, start Spark, run, record, print the JSON line, exit with its status."""
    outcome = run_program(name, body, sections, doc, sys.argv[1:], more_arguments)
    print(outcome.line, flush=True)
    sys.exit(outcome.exit_code)


def run_program(
    name: str,
    body: Body,
    sections: Sequence[str],
    doc: str | None,
    argv: Sequence[str],
    more_arguments: MoreArguments | None = None,
) -> Outcome:
    """All of `main` but printing and leaving."""
    log, started = job_logger(), time.monotonic()
    known: dict[str, Any] = {"job": name, "status": "failed"}
    try:
        arguments = parse_arguments(name, sections, doc, argv, more_arguments)
        known |= {"run_id": arguments.run_id, "batch_date": arguments.batch_date, "lake": arguments.settings.lake.root}
        with spark_session(f"etude {name}", arguments.settings.spark, arguments.settings.lake) as spark:
            return execute(name, body, spark, arguments, log)
    except (Exception, KeyboardInterrupt) as error:
        code = explain(log, name, error)
        return Outcome(code, json_line(time.monotonic() - started, {**known, "error": one_line(error)}))


def execute(
    name: str,
    body: Body,
    spark: SparkSession,
    arguments: Arguments,
    log: logging.Logger,
    outside: Mapping[str, int] | None = None,
) -> Outcome:
    """Run a job's body in a session that is there, under a hold on its batch, with ledger and status file.

    `outside` (name -> fingerprint of files outside the lake) is recorded among the run's inputs.
    """
    settings = arguments.settings
    lake = Lake(spark, settings.lake.root)
    record = RunRecord(
        run_id=arguments.run_id,
        job=name,
        batch_date=arguments.batch_date,
        protocol=settings.evaluation.protocol,
        settings=redacted_json(settings),
        package_version=etude.__version__,
        started_at=utc_now(),
        inputs=dict(outside or {}),
    )
    job = JobRun(name, spark, settings, lake, Ledger(lake), record, log, arguments)
    spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", f"job={name} run_id={record.run_id}")
    log.info("job=%s run_id=%s batch_date=%s lake=%s", name, record.run_id, record.batch_date, lake.root)
    lease = storage.join(lake.root, "_locks", name if name in _ONE_AT_A_TIME else _batch(record))
    started = time.monotonic()
    try:
        with batch_hold(spark, lease, record.run_id, settings.lake.lock_timeout_s) as check_hold:
            return _recorded(job, body, started, check_hold)
    except BatchHeldError as error:
        record.status, record.error = "failed", str(error)
        return Outcome(explain(log, name, error), _summary(job, started))


def _batch(record: RunRecord) -> str:
    return f"{record.batch_date}.{record.protocol}.{record.job}"


def _recorded(job: JobRun, body: Body, started: float, check_hold: Callable[[], None]) -> Outcome:
    job.ledger.begin(job.record)
    # What an earlier attempt left there would pass for this one's, should this one die without a word.
    _write_status(job, _summary(job, started))
    code = 0
    try:
        with ticking(job.log, job.name, lambda: spark_work(job.spark)):
            body(job)
        check_hold()
        job.write_metrics()
        job.record.status = "succeeded"
    except Exception as error:
        code = explain(job.log, job.name, error)
        job.record.status, job.record.error = "failed", one_line(error)
    except BaseException as error:
        job.record.status, job.record.error = "failed", f"stopped by {type(error).__name__}"
        raise
    finally:
        job.spark.catalog.clearCache()
        job.record.ended_at = utc_now()
        job.ledger.write(job.record)
    if code == 0 and job._into_force:
        _bring_into_force(job)
    line = _summary(job, started)
    _write_status(job, line)
    return Outcome(code, line)


def _bring_into_force(job: JobRun) -> None:
    """Move `current`, unless the lists of a later batch are in force: a backfill doesn't take them back."""
    later = job.ledger.overtaken(job.batch_date)
    job.note("in_force", later or job.run_id)
    if later is None:
        job.ledger.make_current(job._into_force)
    else:
        job.log.warning("job=%s in_force=%s it works for a later batch than %s", job.name, later, job.batch_date)


def _write_status(job: JobRun, line: str) -> None:
    storage.write_bytes(storage.join(job.lake.root, "_status", job.run_id, f"{job.name}.json"), line.encode())


def _summary(job: JobRun, started: float) -> str:
    return summary(job.record, time.monotonic() - started, {"lake": job.lake.root, **job._facts})


def explain(log: logging.Logger, name: str, error: BaseException) -> int:
    """Say on standard error what went wrong, in one line where a person can act on it; returns the exit status."""
    if isinstance(error, EtudeError):
        for line in str(error).splitlines():
            log.error("job=%s status=failed error=%s", name, line)
        return error.exit_code
    log.error("job=%s status=failed error=%s", name, one_line(error), exc_info=error)
    return 1


def one_line(error: BaseException) -> str:
    """The first line of an error's text, after its type where it isn't one of ours."""
    text = str(error).strip().splitlines()
    first = storage.shown(text[0][:500]) if text else ""
    return first if isinstance(error, EtudeError) else f"{type(error).__name__}: {first}"
