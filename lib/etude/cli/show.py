"""One run: how it ended, its settings that differ from the defaults, and the way back from it to the plays."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from etude.cli import _lineage
from etude.cli._aligned import text_of
from etude.cli._lake import add_lake_options, settings_of
from etude.errors import InputMissingError
from etude.lake.glance import Rows, open_lake
from etude.lake.lineage import MAKERS


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser("show", description=__doc__)
    parser.add_argument("run_id", metavar="RUN_ID", help="id of the run, as `etude runs` lists it")
    parser.add_argument("--job", help="only this job of the run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the run.

    Raises:
        InputMissingError: there is no such run.
    """
    settings = settings_of(args)
    with open_lake(settings) as lake:
        rows = [row for row in _lineage.runs_of(lake, args.run_id) if args.job in (None, row["job"])]
        if not rows:
            job = f" of {args.job}" if args.job else ""
            raise InputMissingError(f"no run {args.run_id}{job} in the lake; `etude runs` lists them")
        in_force = [row for row in lake.rows("current") if row["run_id"] == args.run_id]
        made = _lineage.trace(lake, settings.lake.root, last_stage(rows))
    if args.json:
        print(json.dumps(as_dict(rows, in_force, made), default=str, indent=2))
    else:
        print("\n".join(as_lines(rows, in_force, made)))
    return 0


def last_stage(rows: Rows) -> dict[str, Any]:
    """The row whose way back is shown: the latest stage that wrote something others can read."""
    by_job = {row["job"]: row for row in rows}
    return next((by_job[job] for job in reversed(MAKERS) if job in by_job), rows[-1])


def as_lines(rows: Rows, in_force: Rows, made: _lineage.Node) -> Iterator[str]:
    """The run for a terminal."""
    alike = len({row["settings"] for row in rows}) == 1
    for row in rows:
        yield from _job_lines(row)
        if not alike:
            yield from _settings_lines(row, "  ")
        yield ""
    if alike:
        yield from _settings_lines(rows[0], "")
        yield ""
    if in_force:
        tables = ", ".join(sorted(row["table"] for row in in_force))
        yield f"In force since {text_of(in_force[0]['since'])} UTC for {tables}"
        yield ""
    yield f"How {made.job} {made.run_id} was made (tables with the Delta version read or written)"
    yield from _lineage.tree_lines(made)


def _job_lines(row: dict[str, Any]) -> Iterator[str]:
    ended = row["ended_at"]
    took = f" in {(ended - row['started_at']).total_seconds():.1f} s" if ended else ""
    yield f"{row['job']} {row['run_id']}: {row['status']}{took}"
    yield f"  batch {row['batch_date']}, protocol {row['protocol']}, etude {row['package_version']}"
    yield f"  started {text_of(row['started_at'])} UTC, attempt {row['attempt']}"
    if row["error"]:
        yield f"  error: {row['error']}"
    for number, error in enumerate(row["earlier_errors"], 1):
        yield f"  error of attempt {number}: {error}"
    yield f"  read  {_lineage.versions_text(_lineage.tables_of(row['inputs']))}"
    yield f"  wrote {_lineage.versions_text(row['outputs'])}"
    if row["row_counts"]:
        yield "  rows  " + ", ".join(f"{name} {count:,}" for name, count in row["row_counts"].items())


def _settings_lines(row: dict[str, Any], indent: str) -> Iterator[str]:
    changed = _lineage.differing(row)
    yield f"{indent}Settings that differ from the defaults{'' if changed else ': none'}"
    for key, value, default in changed:
        yield f"{indent}  {key} = {json.dumps(value, ensure_ascii=False)}  (default {json.dumps(default)})"


def as_dict(rows: Rows, in_force: Rows, made: _lineage.Node) -> dict[str, Any]:
    """The run for a program."""
    return {
        "run_id": made.run_id,
        "jobs": [{**row, "settings": json.loads(row["settings"]), "differing": dict(_pairs(row))} for row in rows],
        "in_force": {row["table"]: row["since"] for row in in_force},
        "made": _lineage.tree_dict(made),
    }


def _pairs(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value, default in _lineage.differing(row):
        yield key, {"value": value, "default": default}
