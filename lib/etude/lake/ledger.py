"""The run ledger: what ran, from what, to what; and which run is in force."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from etude.errors import InputMissingError, SettingsError
from etude.lake.glance import glance_of
from etude.lake.lake import Lake
from etude.lake.tables import IN_FORCE_BY, RUNS
from etude.storage import shown

Entry = dict[str, Any]
"""A row of `runs`: column -> value."""


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
    built_on: dict[str, str] = field(default_factory=dict)
    """What an earlier attempt had as `upstream`; no column."""

    def as_entry(self) -> Entry:
        """The record as a row of `runs`."""
        return {name: getattr(self, name) for name in RUNS.column_names}


def utc_now() -> datetime:
    """The time in UTC, with its zone."""
    return datetime.now(timezone.utc)


class Ledger:
    """Reads and writes `runs` and `current`."""

    def __init__(self, lake: Lake):
        """`lake` holds both tables."""
        self.lake = lake
        self.glance = glance_of(lake)

    def begin(self, record: RunRecord) -> None:
        """Write the run as running; a run_id that was tried before keeps its count, its errors and what it wrote."""
        earlier = self._only(job=record.job, run_id=record.run_id)
        if earlier is not None:
            record.attempt = earlier["attempt"] + 1
            # An attempt that finds nothing new to write (mel, ingest) still leaves the rows of the one before.
            record.outputs = {**earlier["outputs"], **record.outputs}
            record.built_on = dict(earlier["upstream"])
            record.earlier_errors = list(earlier["earlier_errors"])
            if earlier["status"] != "succeeded":
                record.earlier_errors.append(earlier["error"] or "died without a word")
        self.write(record)

    def write(self, record: RunRecord) -> None:
        """Put the record in the place of the run's row."""
        self.lake.put("runs", [record.as_entry()], job=record.job, run_id=record.run_id)

    def is_succeeded(self, job: str, run_id: str) -> bool:
        """Whether that run's rows count."""
        return self.succeeded_run(job, run_id) is not None

    def succeeded_run(self, job: str, run_id: str) -> Entry | None:
        """That run's row of `runs`, or None where its rows don't count."""
        return self._only(job=job, run_id=run_id, status="succeeded")

    def is_outdated(self, job: str, run_id: str) -> bool:
        """Whether a run that its rows rest on has run again since (or no longer counts), at any remove.

        The ids alone don't tell: a wmf run that is fitted again under its run_id leaves factors in another basis. True
        also where the run itself hasn't succeeded.
        """
        done = self.succeeded_run(job, run_id)
        return done is None or self._rests_on_another(done)

    def _rests_on_another(self, done: Entry) -> bool:
        return any(
            (before := self.succeeded_run(stage, earlier)) is None
            or before["ended_at"] > done["started_at"]
            or self._rests_on_another(before)
            for stage, earlier in done["upstream"].items()
        )

    def upstream(self, job: str, asked: str | None, run: RunRecord) -> str:
        """The run of an earlier stage whose rows `run` reads.

        In this order: the one that `inputs.<job>_run_id` asks for; the one that shares the run_id; the newest that was
        built on what `run` has chosen already; the newest of the batch_date; the one in force (protocol none only).
        Each must have succeeded, under the same protocol. A run that goes on from another run of its own job never
        takes itself; a second attempt goes on from the run that the first went on from.

        Raises:
            InputMissingError: there is none, or the one asked for has not succeeded.
            SettingsError: the one asked for ran under another protocol.
        """
        if asked is not None:
            return self._asked_for(job, asked, run)
        columns = ("run_id", "batch_date", "upstream", "ended_at")
        rows = self.glance.rows("runs", columns, job=job, status="succeeded", protocol=run.protocol)
        rows.sort(key=lambda row: row["ended_at"], reverse=True)
        same = run.run_id
        if job == run.job:
            rows = [row for row in rows if row["run_id"] != run.run_id]
            same = run.built_on.get(job, run.run_id)
        found = [row for row in rows if row["run_id"] == same]
        if not found and run.upstream:
            found = [row for row in rows if run.upstream.items() <= row["upstream"].items()]
        if not found:
            found = [row for row in rows if row["batch_date"] == run.batch_date]
        if not found and run.protocol == "none":
            in_force = self.current(IN_FORCE_BY[job])
            found = [row for row in rows if row["run_id"] == in_force]
        if not found:
            raise InputMissingError(
                f"no succeeded {job} run for batch {run.batch_date} with evaluation.protocol={run.protocol} in "
                f"{self.lake.root}; run jobs/{job}.py first, or name one with inputs.{job}_run_id"
            )
        return str(found[0]["run_id"])

    def _asked_for(self, job: str, asked: str, run: RunRecord) -> str:
        found = self.succeeded_run(job, asked)
        if found is None:
            raise InputMissingError(
                f"inputs.{job}_run_id={asked}: no succeeded {job} run of that id in {self.lake.root}"
            )
        if found["protocol"] != run.protocol:
            raise SettingsError(
                f"inputs.{job}_run_id={asked}: it ran with evaluation.protocol={found['protocol']}, this run has "
                f"evaluation.protocol={run.protocol}; a run builds on runs of its own protocol only"
            )
        return asked

    def current(self, table: str) -> str | None:
        """The run_id in force for a table, or None."""
        return next((str(row["run_id"]) for row in self.glance.rows("current") if row["table"] == table), None)

    def overtaken(self, batch_date: date) -> str | None:
        """The topn run in force where it works for a later batch; a run of `batch_date` leaves it there."""
        in_force = self.current(IN_FORCE_BY["topn"])
        run = None if in_force is None else self._only(job="topn", run_id=in_force)
        return in_force if run is not None and run["batch_date"] > batch_date else None

    def make_current(self, run_ids: dict[str, str]) -> None:
        """Bring runs (table -> run_id) into force in the place of all that were, in one commit."""
        since = utc_now()
        rows = [{"table": table, "run_id": run_id, "since": since} for table, run_id in sorted(run_ids.items())]
        self.lake.put("current", rows)

    def _only(self, **equals: str) -> Entry | None:
        """The run with that job and run_id (and status), or None."""
        return next(iter(self.glance.rows("runs", **equals)), None)


def summary(record: RunRecord, seconds: float, facts: dict[str, Any]) -> str:
    """The JSON line of the job contract: the last line on standard output, and the `_status` file."""
    known = {
        "job": record.job,
        "run_id": record.run_id,
        "batch_date": record.batch_date.isoformat(),
        "status": record.status,
        "rows": record.row_counts,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "upstream": record.upstream,
        "error": record.error,
    }
    return json_line(seconds, {**known, **facts})


_ALWAYS = ("job", "run_id", "batch_date", "status", "seconds", "rows", "inputs", "outputs", "upstream", "error", "lake")


def json_line(seconds: float, facts: dict[str, Any]) -> str:
    """Facts as the JSON line, which has the same keys however a job ends: null where a thing isn't known."""
    line = {**dict.fromkeys(_ALWAYS), **facts, "seconds": round(seconds, 1)}
    return shown(json.dumps(line, default=str))
