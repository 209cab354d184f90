"""Keep the contract of every job: arguments, settings, session, run ledger, exit status and the JSON line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, NoReturn, TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import etude
from etude import storage
from etude.arguments import Arguments, MoreArguments, parse_arguments
from etude.causes import cause_of
from etude.config import Settings, redacted
from etude.errors import EtudeError, LeaseTakenError
from etude.lake import folders, ledger, releases
from etude.lake.conflicts import no_fence
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.lease import leased
from etude.lake.metrics import Metric
from etude.lake.runs import ABSENT, Run, json_line, summary, utc_now
from etude.lake.tables import TABLES
from etude.logs import job_logger, progress, ticking
from etude.session import spark_session, spark_work
from etude.small_session import is_small, small_session
from etude.stages import Stage, stage_of

__all__ = ["Arguments", "JobRun", "Outcome", "execute", "main", "parse_arguments", "run_program"]

_Item = TypeVar("_Item")


@dataclass
class JobRun:
    """Give a job's `run` function its session, settings, lake and record, and keep count of what it reads and writes.

    It reads and writes the tables that its stage declares, and no others.
    """

    stage: Stage
    spark: SparkSession
    settings: Settings
    lake: Lake
    record: Run
    log: logging.Logger
    arguments: Arguments
    earlier: Run | None = None
    """The earlier attempt under this run_id."""
    check_lease: Callable[[], None] = no_fence
    """Raises if another run has taken over this run's lease."""
    publishes: bool = False
    """Whether this run and its upstream runs are published once the job has succeeded."""
    _metric_rows: list[Metric] = field(default_factory=list)
    _wrote: dict[str, int] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of this run."""
        return self.record.run_id

    @property
    def batch_date(self) -> date:
        """The batch (UTC date) that this run works for."""
        return self.record.batch_date

    @property
    def resume(self) -> bool:
        """Whether the run goes on where an earlier attempt of its run_id stopped."""
        return self.arguments.resume

    @cached_property
    def graph(self) -> RunGraph:
        """The lake's runs, as they are when a job first asks."""
        return ledger.graph(self.lake)

    def read(self, table: str, version: int | None = None, **equals: Any) -> DataFrame:
        """Return the rows of a table that fulfil every `column=value`; the version read goes into the ledger.

        The version is pinned at the first read, so that everything that a run reads of a table is one snapshot. A table
        that is absent then stays empty for this run. What an unfinished run has written doesn't count: see
        RunGraph.counted.

        Raises:
            LookupError: the stage doesn't declare that it reads the table.
        """
        self._must_declare("reads", table)
        if version is None:
            version = self.record.inputs.get(table)
        if version is None:
            version = self._version_that_counts(table)
        self.record.inputs[table] = ABSENT if version is None else version
        return self.lake.read(table, self.record.inputs[table], **equals)

    def _version_that_counts(self, table: str) -> int | None:
        newest = self.lake.version(table)
        version = self.graph.counted(table, newest, self.stage.name)
        if version != newest:
            self.log.warning(
                "table=%s version=%s newest=%s reason='a run that has not succeeded wrote what is newer'",
                *(table, version, newest),
            )
        return version

    def written(self, table: str, **equals: Any) -> DataFrame:
        """Return the rows of a table as this run left it, or as it read it if it has written nothing."""
        self._must_declare("writes", table)
        return self.lake.read(table, self._wrote.get(table, self.record.inputs.get(table)), **equals)

    def replace(self, table: str, rows: DataFrame, **equals: Any) -> None:
        """Put `rows` in the place of this run's rows, or of all rows that fulfil every `column=value`.

        The columns run_id and job, if the table has them, are set here.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        for column, value in (("run_id", self.run_id), ("job", self.stage.name)):
            if column in TABLES[table].column_names:
                rows = rows.withColumn(column, F.lit(value))
                equals[column] = value
        self._record(table, self.lake.replace(table, rows, self.check_lease, **equals))

    def merge(self, table: str, rows: DataFrame) -> None:
        """Update and insert `rows` by the table's key.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        self._record(table, self.lake.merge(table, rows, self.check_lease))

    def delete(self, table: str, keys: DataFrame) -> None:
        """Remove the rows whose key stands in `keys`.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        self._record(table, self.lake.delete(table, keys, self.check_lease))

    def _record(self, table: str, version: int) -> None:
        # Apart from outputs, which also hold what an earlier attempt wrote.
        self._wrote[table] = self.record.outputs[table] = version

    def _must_declare(self, what: str, name: str) -> None:
        declared = getattr(self.stage, what)
        if name not in declared:
            raise LookupError(
                f"{self.stage.name}: {name} is not among `{what}` of its entry in etude/stages.py "
                f"({', '.join(declared) or 'none'}); add it there"
            )

    def upstream(self, job: str) -> str:
        """Return the run_id of the earlier stage's run that this run builds on (see RunGraph.choose); it is recorded.

        Raises:
            LookupError: the stage doesn't declare that it builds on the other.
        """
        self._must_declare("builds_on", job)
        chosen = self.record.upstream_run(job)
        if chosen is None:
            release = releases.current(self.lake)
            chosen = releases.choose_upstream(job, self.record, self.graph, release, self.settings.inputs, self.earlier)
            self.record.upstream[job] = [chosen]
        return chosen

    def count(self, name: str, n: int) -> None:
        """Record a number of rows for the JSON line and the ledger."""
        self.record.row_counts[name] = int(n)

    def note(self, key: str, value: Any) -> None:
        """Record a fact for the JSON line and the ledger."""
        self.record.facts[key] = value

    def metrics(self, rows: Iterable[Metric]) -> None:
        """Keep figures for the table `metrics`; they are written when the job ends well."""
        self._metric_rows.extend(rows)

    def progress(self, items: Iterable[_Item], desc: str, total: int | None = None) -> Iterator[_Item]:
        """Pass items on, and show how far the work is."""
        return progress(items, desc, total, self.log)

    def write_metrics(self) -> None:
        """Write what `metrics` kept, in the place of what an earlier attempt wrote."""
        if not self._metric_rows and (self.record.attempt == 1 or "metrics" not in self.stage.writes):
            return
        self._must_declare("writes", "metrics")
        key = {"run_id": self.run_id, "job": self.stage.name}
        common = key | {"protocol": self.record.protocol}
        rows = [common | row._asdict() | {"value": float(row.value)} for row in self._metric_rows]
        self._record("metrics", self.lake.replace("metrics", rows, self.check_lease, **key))

    def write_release(self) -> None:
        """Add a release of this run, unless the lists of a later batch are served: a backfill doesn't replace them."""
        graph = ledger.graph(self.lake)
        by, timeout_s = f"{self.stage.name} {self.run_id}", self.settings.lake.lease_timeout_s
        with releases.publishing(self.lake, by, timeout_s) as (now, add):
            later = releases.served_by(now, graph, self.batch_date)
            self.note("published", later or self.run_id)
            if later is None:
                add(releases.tables_of(graph, self.record), f"topn run {self.run_id} succeeded")
            else:
                self.log.warning("job=%s published=%s reason='it works for a later batch'", self.stage.name, later)


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
    spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", writer)
    log.info("job=%s run_id=%s batch_date=%s lake=%s", name, record.run_id, record.batch_date, lake.root)
    lease = ledger.lease(lake, record)
    started = time.monotonic()
    try:
        with leased(spark, lease, record.run_id, settings.lake.lease_timeout_s) as check_lease:
            job.check_lease = check_lease
            return _recorded(job, body, started)
    except LeaseTakenError as error:
        record.status, record.error = "failed", str(error)
        return Outcome(explain(log, name, error), _summary(job, started))


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
        job.spark.catalog.clearCache()
        job.record.ended_at = utc_now()
        if not _superseded(job):
            ledger.write(job.lake, job.record)
    if code == 0 and job.publishes:
        job.write_release()
        ledger.write(job.lake, job.record)
    line = _summary(job, started)
    if not _superseded(job):
        _write_status(job, line)
    return Outcome(code, line)


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
