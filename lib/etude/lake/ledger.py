"""The run ledger: what ran, from what, to what; and which run is in force."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from etude.errors import InputMissingError
from etude.lake.lake import Lake
from etude.lake.tables import CURRENT, IN_FORCE_BY, RUNS


@dataclass
class RunRecord:
    """One row of `runs`, filled in while the job works."""

    run_id: str
    job: str
    batch_date: date
    protocol: str
    settings: str
    package_version: str
    started_at: datetime
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    upstream: dict[str, str] = field(default_factory=dict)
    row_counts: dict[str, int] = field(default_factory=dict)
    ended_at: datetime | None = None
    status: str = "running"
    error: str | None = None
    attempt: int = 1
    earlier_errors: list[str] = field(default_factory=list)


def utc_now() -> datetime:
    """The time in UTC, with its zone."""
    return datetime.now(timezone.utc)


class Ledger:
    """Reads and writes `runs` and `current`."""

    def __init__(self, lake: Lake):
        """`lake` holds both tables."""
        self.lake = lake

    def begin(self, record: RunRecord) -> None:
        """Write the run as running; a run_id that was tried before keeps its count and its errors."""
        earlier = self.lake.read("runs", job=record.job, run_id=record.run_id).first()
        if earlier is not None:
            record.attempt = earlier["attempt"] + 1
            record.earlier_errors = list(earlier["earlier_errors"])
            if earlier["status"] != "succeeded":
                record.earlier_errors.append(earlier["error"] or "died without a word")
        self.write(record)

    def write(self, record: RunRecord) -> None:
        """Put the record in the place of the run's row."""
        self.lake.replace("runs", self.frame([record]), job=record.job, run_id=record.run_id)

    def frame(self, records: Iterable[RunRecord]) -> DataFrame:
        """Records as rows of `runs`."""
        rows = [tuple(getattr(record, name) for name in RUNS.column_names) for record in records]
        return self.lake.spark.createDataFrame(rows, RUNS.schema)

    def succeeded(self, job: str) -> DataFrame:
        """Runs of a job that succeeded."""
        return self.lake.read("runs", job=job, status="succeeded")

    def is_succeeded(self, job: str, run_id: str) -> bool:
        """Whether that run's rows count."""
        return self.succeeded_run(job, run_id) is not None

    def succeeded_run(self, job: str, run_id: str) -> Row | None:
        """That run's row of `runs`, or None where its rows don't count."""
        return self.succeeded(job).where(F.col("run_id") == run_id).first()

    def is_outdated(self, job: str, run_id: str) -> bool:
        """Whether a run that its rows rest on has run again since (or no longer counts), at any remove.

        The ids alone don't tell: a wmf run that is fitted again under its run_id leaves factors in another basis. True
        also where the run itself hasn't succeeded.
        """
        done = self.succeeded_run(job, run_id)
        return done is None or any(
            (before := self.succeeded_run(stage, earlier)) is None
            or before["ended_at"] > done["started_at"]
            or self.is_outdated(stage, earlier)
            for stage, earlier in done["upstream"].items()
        )

    def upstream(self, job: str, run_id: str, asked: str | None, batch_date: date, protocol: str) -> str:
        """The run of an earlier stage whose rows a run reads.

        In this order: the run that `inputs.<job>_run_id` asks for; the one that shares the run_id; the newest
        succeeded one of the batch_date under the same protocol; the one in force (protocol none only).

        Raises:
            InputMissingError: there is none, or the one asked for has not succeeded.
        """
        if asked is not None:
            if self.is_succeeded(job, asked):
                return asked
            raise InputMissingError(
                f"inputs.{job}_run_id={asked}: no succeeded {job} run of that id in {self.lake.root}"
            )
        same_protocol = self.succeeded(job).where(F.col("protocol") == protocol)
        if same_protocol.where(F.col("run_id") == run_id).limit(1).count():
            return run_id
        newest = same_protocol.where(F.col("batch_date") == F.lit(batch_date)).orderBy(F.desc("ended_at")).first()
        if newest is not None:
            return str(newest["run_id"])
        in_force = self.current(IN_FORCE_BY[job]) if protocol == "none" else None
        if in_force is not None:
            return in_force
        raise InputMissingError(
            f"no succeeded {job} run for batch {batch_date} with evaluation.protocol={protocol} in {self.lake.root}; "
            f"run jobs/{job}.py first, or name one with inputs.{job}_run_id"
        )

    def current(self, table: str) -> str | None:
        """The run_id in force for a table, or None."""
        row = self.lake.read("current").where(F.col("table") == table).first()
        return None if row is None else str(row["run_id"])

    def make_current(self, run_ids: dict[str, str]) -> None:
        """Bring runs into force, all tables in one commit."""
        since = utc_now()
        rows = [(table, run_id, since) for table, run_id in sorted(run_ids.items())]
        self.lake.merge("current", self.lake.spark.createDataFrame(rows, CURRENT.schema))


def summary(record: RunRecord, seconds: float, facts: dict[str, Any]) -> str:
    """The JSON line of the job contract: the last line on standard output, and the `_status` file."""
    return json.dumps(
        {
            "job": record.job,
            "run_id": record.run_id,
            "batch_date": record.batch_date.isoformat(),
            "status": record.status,
            "seconds": round(seconds, 1),
            "rows": record.row_counts,
            "inputs": record.inputs,
            "outputs": record.outputs,
            "upstream": record.upstream,
            **({"error": record.error} if record.error else {}),
            **facts,
        },
        sort_keys=False,
        default=str,
    )
