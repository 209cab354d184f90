"""Hold a row of the table `runs` as one typed value, and print it as the JSON line of the job contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timezone
from typing import Any

from etude.storage import masked

ABSENT = -1
"""The version of a table that did not exist when a run first read it."""

DEAD = "dead"
"""The status of a run whose process ended without recording a result. `runs` goes on saying `running`."""


@dataclass
class Run:
    """Hold one run of one job, as the table `runs` records it."""

    run_id: str
    job: str
    batch_date: date
    protocol: str
    started_at: datetime
    parent: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """All settings by section, secrets masked; empty in a RunGraph, which is loaded without them."""
    inputs: dict[str, int] = field(default_factory=dict)
    """Table -> Delta version, ABSENT if there was no table."""
    fingerprints: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    upstream: dict[str, list[str]] = field(default_factory=dict)
    """Job -> run_ids of its runs that this run read."""
    row_counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    ended_at: datetime | None = None
    status: str = "running"
    error: str | None = None
    attempt: int = 1
    earlier_errors: list[str] = field(default_factory=list)
    package_version: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the run: job and run_id."""
        return self.job, self.run_id

    @property
    def succeeded(self) -> bool:
        """Whether the run's rows count."""
        return self.status == "succeeded"

    @property
    def seconds(self) -> float | None:
        """Wall time; None while it runs."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    @property
    def tables_read(self) -> dict[str, int]:
        """Table -> Delta version of the tables that existed."""
        return {name: version for name, version in self.inputs.items() if version != ABSENT}

    def upstream_run(self, job: str) -> str | None:
        """Return the run_id of the first upstream run of a job; None if there is none."""
        return next(iter(self.upstream.get(job, ())), None)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Run:
        """Read columns of `runs`; a column that is absent keeps its default."""
        known: dict[str, Any] = {each.name: row[each.name] for each in fields(cls) if each.name in row}
        if "settings" in known:
            known["settings"] = json.loads(known["settings"])
        for name in ("inputs", "fingerprints", "outputs", "row_counts"):
            known[name] = dict(known.get(name) or {})
        known["upstream"] = {job: list(run_ids) for job, run_ids in (known.get("upstream") or {}).items()}
        known["facts"] = {name: json.loads(text) for name, text in (known.get("facts") or {}).items()}
        known["earlier_errors"] = list(known.get("earlier_errors") or [])
        return cls(**known)

    def as_row(self) -> dict[str, Any]:
        """Return the columns of `runs`."""
        row = {each.name: getattr(self, each.name) for each in fields(self)}
        facts = {name: json.dumps(masked(value), default=str) for name, value in self.facts.items()}
        return {**row, "settings": json.dumps(self.settings, sort_keys=True), "facts": facts}


LIGHT = tuple(each.name for each in fields(Run) if each.name not in ("settings", "facts", "earlier_errors"))
"""The columns of `runs` without the long ones."""


def utc_now() -> datetime:
    """Return the time in UTC, with its zone."""
    return datetime.now(timezone.utc)


def summary(run: Run, seconds: float, lake: str) -> str:
    """Return the JSON line of the job contract: the last line on standard output, and the status file."""
    known = {
        "job": run.job,
        "run_id": run.run_id,
        "batch_date": run.batch_date.isoformat(),
        "status": run.status,
        "rows": run.row_counts,
        "inputs": run.inputs,
        "outputs": run.outputs,
        "upstream": run.upstream,
        "error": run.error,
        "lake": lake,
    }
    return json_line(seconds, {**known, **run.facts})


_ALWAYS = ("job", "run_id", "batch_date", "status", "seconds", "rows", "inputs", "outputs", "upstream", "error", "lake")


def json_line(seconds: float, facts: Mapping[str, Any]) -> str:
    """Return facts as the JSON line. It always has the same keys; what is not known is null."""
    line = {**dict.fromkeys(_ALWAYS), **facts, "seconds": round(seconds, 1)}
    return json.dumps(masked(line), default=str)
