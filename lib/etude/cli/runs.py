"""What ran, newest first: run, job, batch, how it ended, and which runs are in force.

A * marks the runs in force (see the table `current`).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of
from etude.lake.glance import Glance, Rows, open_lake
from etude.lake.tables import IN_FORCE_BY

_COLUMNS = ("run_id", "job", "batch_date", "protocol", "status", "started_at", "ended_at", "attempt", "error")


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("runs", description=__doc__)
    parser.add_argument("--job", help="only this job's runs")
    parser.add_argument("--status", choices=("running", "succeeded", "failed"), help="only runs that ended so")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="most lines (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
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


def newest_runs(lake: Glance, job: str | None = None, status: str | None = None) -> Rows:
    """Runs, newest first, with `seconds` and `in_force`."""
    wanted = {name: value for name, value in (("job", job), ("status", status)) if value is not None}
    in_force = {(row["table"], row["run_id"]) for row in lake.rows("current")}
    rows = lake.rows("runs", _COLUMNS, **wanted)
    for row in rows:
        ended = row["ended_at"]
        row["seconds"] = round((ended - row["started_at"]).total_seconds(), 1) if ended else None
        row["in_force"] = (IN_FORCE_BY.get(row["job"]), row["run_id"]) in in_force
    return sorted(rows, key=lambda row: (row["started_at"], row["job"]), reverse=True)


def as_text(rows: Rows) -> str:
    """The runs as lines."""
    if not rows:
        return "no runs"
    columns = ("", "run_id", "job", "batch_date", "protocol", "status", "seconds", "started (UTC)", "error")
    lines = [
        (
            "*" if row["in_force"] else "",
            *(row[name] for name in ("run_id", "job", "batch_date", "protocol", "status", "seconds", "started_at")),
            row["error"],
        )
        for row in rows
    ]
    return aligned(columns, lines)
