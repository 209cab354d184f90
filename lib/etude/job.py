"""The contract of every job: arguments, settings, session, run ledger, exit status and the JSON line."""

from __future__ import annotations

import argparse
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import etude
from etude import storage
from etude.config import Settings, load_settings, redacted_json, settings_help
from etude.errors import BatchHeldError, EtudeError, SettingsError
from etude.lake.hold import batch_hold
from etude.lake.lake import Lake
from etude.lake.ledger import Ledger, RunRecord, summary, utc_now
from etude.lake.metrics import Metric
from etude.lake.tables import METRICS, TABLES
from etude.logs import job_logger, progress
from etude.session import spark_session

_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Arguments:
    """What the command line said; `extra` holds the arguments that a job adds to the contract's."""

    settings: Settings
    batch_date: date
    run_id: str
    resume: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


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
    _metric_frames: list[DataFrame] = field(default_factory=list)
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
            self.record.upstream[job] = self.ledger.upstream(
                job, self.run_id, asked, self.batch_date, self.record.protocol
            )
        return self.record.upstream[job]

    def count(self, name: str, n: int) -> None:
        """Note a number of rows for the JSON line and the ledger."""
        self.record.row_counts[name] = int(n)

    def note(self, key: str, value: Any) -> None:
        """Add a fact to the JSON line."""
        self._facts[key] = value

    def metrics(self, rows: Iterable[Metric]) -> None:
        """Keep a few figures for the `metrics` table; written when the job ends well."""
        self._metric_rows.extend(rows)

    def metrics_frame(self, rows: DataFrame) -> None:
        """The same from a frame with the columns of `Metric`."""
        self._metric_frames.append(rows.select(*Metric._fields))

    def make_current(self, run_ids: dict[str, str]) -> None:
        """Bring runs into force (table -> run_id) once this job has succeeded."""
        self._into_force.update(run_ids)

    def progress(self, items: Iterable[_Item], desc: str, total: int | None = None) -> Iterator[_Item]:
        """Pass items on, showing how far the work is."""
        return progress(items, desc, total, self.log)

    def write_metrics(self) -> None:
        """Write what `metrics` and `metrics_frame` kept."""
        frames = list(self._metric_frames)
        if self._metric_rows:
            schema = METRICS.schema
            fields = [schema[name] for name in Metric._fields]
            rows = [row._replace(value=float(row.value)) for row in self._metric_rows]
            frames.insert(0, self.spark.createDataFrame(rows, type(schema)(fields)))
        if not frames:
            return
        together = frames[0]
        for frame in frames[1:]:
            together = together.unionByName(frame)
        self.replace(
            "metrics",
            together.select(
                F.lit(self.run_id).alias("run_id"),
                F.lit(self.name).alias("job"),
                F.lit(self.record.protocol).alias("protocol"),
                *(F.col(name).cast(METRICS.schema[name].dataType).alias(name) for name in Metric._fields),
            ),
        )


Body = Callable[[JobRun], None]
MoreArguments = Callable[[argparse.ArgumentParser], None]


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
    log = job_logger()
    try:
        arguments = parse_arguments(name, sections, doc, argv, more_arguments)
        with spark_session(f"etude {name}", arguments.settings.spark, arguments.settings.lake) as spark:
            return execute(name, body, spark, arguments, log)
    except Exception as error:
        code = explain(log, name, error)
        return Outcome(code, json.dumps({"job": name, "status": "failed", "error": one_line(error)}))


def parse_arguments(
    name: str,
    sections: Sequence[str],
    doc: str | None,
    argv: Sequence[str],
    more_arguments: MoreArguments | None = None,
) -> Arguments:
    """The job contract's arguments: --config, --batch-date, --run-id, --resume and section.key=value.

    `more_arguments` may add optional ones of the job's own; they end up in `Arguments.extra`.

    Raises:
        SettingsError: an argument or a setting is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=f"jobs/{name}.py",
        description=doc,
        epilog=f"settings (section.key=value), with defaults:\n{settings_help(sections)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML layer; repeatable")
    parser.add_argument("--batch-date", metavar="YYYY-MM-DD", help="batch to work for (default: today, UTC)")
    parser.add_argument("--run-id", help="id of the run (default: the batch date if given, else made from the time)")
    parser.add_argument("--resume", action="store_true", help="go on where a run of this id stopped")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over all layers")
    contract = {action.dest for action in parser._actions}
    if more_arguments is not None:
        more_arguments(parser)
    given = parser.parse_intermixed_args(argv)
    extra = {name: value for name, value in vars(given).items() if name not in contract}
    settings = load_settings([*base_layers(), *given.config], given.overrides)
    try:
        batch_date = date.fromisoformat(given.batch_date) if given.batch_date else utc_now().date()
    except ValueError as error:
        raise SettingsError(f"--batch-date {given.batch_date}: expected YYYY-MM-DD") from error
    run_id = given.run_id or given.batch_date or f"{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    if not _RUN_ID.fullmatch(run_id):
        raise SettingsError(f"--run-id {run_id!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -")
    return Arguments(settings, batch_date, run_id, given.resume, extra)


def base_layers() -> list[Path]:
    """conf/etude.yaml beside the folder of the job that runs, where there is one; the defaults are the same."""
    beside = Path(sys.argv[0]).absolute().parent.parent / "conf" / "etude.yaml"
    return [beside] if beside.is_file() else []


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
    lease = storage.join(lake.root, "_locks", f"{record.batch_date}.{record.protocol}.{name}")
    started = time.monotonic()
    try:
        with batch_hold(spark, lease, record.run_id, settings.lake.lock_timeout_s):
            return _recorded(job, body, started)
    except BatchHeldError as error:
        record.status, record.error = "failed", str(error)
        return Outcome(explain(log, name, error), _summary(job, started))


def _recorded(job: JobRun, body: Body, started: float) -> Outcome:
    job.ledger.begin(job.record)
    code = 0
    try:
        body(job)
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
        job.ledger.make_current(job._into_force)
    line = _summary(job, started)
    storage.write_bytes(storage.join(job.lake.root, "_status", job.run_id, f"{job.name}.json"), line.encode())
    return Outcome(code, line)


def _summary(job: JobRun, started: float) -> str:
    return summary(job.record, time.monotonic() - started, {"lake": job.lake.root, **job._facts})


def explain(log: logging.Logger, name: str, error: Exception) -> int:
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
    first = text[0][:500] if text else ""
    return first if isinstance(error, EtudeError) else f"{type(error).__name__}: {first}"
