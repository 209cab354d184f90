"""List the runs, newest first: run_id, job, batch, status, times, error, and which are served.

A * marks the runs of the current release (see `etude release list`). The status is running, succeeded, failed or dead;
dead is a run whose process ended without recording a result.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of
from etude.lake import ledger, releases
from etude.lake.lake import Lake, open_lake
from etude.lake.runs import DEAD, LIGHT, Run

_SHOWN = (
    *("run_id", "job", "parent", "batch_date", "protocol", "status", "started_at", "ended_at", "attempt", "error"),
    "outputs",
)


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("runs", description=__doc__)
    parser.add_argument("--job", help="only this job's runs")
    parser.add_argument("--status", choices=("running", "succeeded", "failed", DEAD), help="only runs with this status")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="most lines (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the newest runs."""
    with open_lake(settings_of(args)) as lake:
        rows = newest_runs(lake, args.job, args.status)
    shown = rows[: args.limit]
    if args.json:
        for row in shown:
            print(json.dumps(row, default=str))
        return 0
    print(as_text(shown))
    if len(rows) > len(shown):
        print(f"{len(rows) - len(shown)} older runs are not shown; --limit N shows more")
    return 0


def newest_runs(lake: Lake, job: str | None = None, status: str | None = None) -> list[dict[str, Any]]:
    """Return runs, the newest first, with `seconds` and `served`."""
    release = releases.current(lake)
    served = release.runs() if release else {}
    listed = [Run.from_row(row) for row in lake.look("runs", LIGHT, **({} if job is None else {"job": job}))]
    runs = [run for run in ledger.as_they_are(lake, listed) if status in (None, run.status)]
    runs.sort(key=lambda run: (run.started_at, run.job), reverse=True)
    return [
        {
            **{name: getattr(run, name) for name in _SHOWN},
            "seconds": None if run.seconds is None else round(run.seconds, 1),
            "served": served.get(run.job) == run.run_id,
        }
        for run in runs
    ]


def as_text(rows: list[dict[str, Any]]) -> str:
    """Return the runs as lines."""
    if not rows:
        return "no runs"
    columns = ("", "run_id", "job", "batch_date", "protocol", "status", "seconds", "started (UTC)", "error")
    names = ("run_id", "job", "batch_date", "protocol", "status", "seconds", "started_at", "error")
    return aligned(columns, [("*" if row["served"] else "", *(row[name] for name in names)) for row in rows])
