"""Show one run: its outcome, its settings that differ from the defaults, and the runs it builds on, back to ingest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etude.cli import _lineage
from etude.cli._aligned import text_of
from etude.cli._lake import add_lake_options, settings_of
from etude.config.non_defaults import non_defaults
from etude.errors import InputMissingError
from etude.lake import ledger, releases
from etude.lake.graph import Source
from etude.lake.lake import open_lake
from etude.lake.releases import Release
from etude.lake.runs import Run
from etude.stages import makers


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
    with open_lake(settings_of(args)) as lake:
        found = ledger.as_they_are(lake, [Run.from_row(row) for row in lake.look("runs", run_id=args.run_id)])
        runs = sorted((each for each in found if args.job in (None, each.job)), key=lambda each: each.started_at)
        if not runs:
            job = f" of {args.job}" if args.job else ""
            raise InputMissingError(f"no run {args.run_id}{job} in the lake; `etude runs` lists them")
        release = releases.current(lake)
        made = ledger.graph(lake).tree(last_stage(runs))
    if args.json:
        print(json.dumps(as_dict(runs, release, made), default=str, indent=2))
    else:
        print("\n".join(as_lines(runs, release, made)))
    return 0


def last_stage(runs: Sequence[Run]) -> Run:
    """Return the run whose sources are shown: that of the last stage that writes tables."""
    by_job = {each.job: each for each in runs}
    return next((by_job[job] for job in reversed(makers()) if job in by_job), runs[-1])


def served_tables(release: Release | None, run_id: str) -> list[str]:
    """Return the tables of which the current release serves this run_id's rows."""
    return sorted(table for table, served in release.run_ids.items() if served == run_id) if release else []


def as_lines(runs: Sequence[Run], release: Release | None, made: Source) -> Iterator[str]:
    """Yield the run for a terminal."""
    changed = [{key: (value, default) for key, value, default in non_defaults(each.settings)} for each in runs]
    common = {key: pair for key, pair in changed[0].items() if all(each.get(key) == pair for each in changed)}
    for each, settings in zip(runs, changed, strict=True):
        yield from _job_lines(each)
        yield from _settings_lines({key: pair for key, pair in settings.items() if key not in common}, "  ")
        yield ""
    yield f"Settings that differ from the defaults{'' if common else ': none'}"
    yield from _settings_lines(common, "  ")
    yield ""
    tables = served_tables(release, runs[0].run_id)
    if release is not None and tables:
        yield f"Served since {text_of(release.since)} UTC by release {release.release}: {', '.join(tables)}"
        yield ""
    yield f"How {made.run.job} {made.run.run_id} was made (tables with the Delta version read or written)"
    yield from _lineage.tree_lines(made)


def _job_lines(run: Run) -> Iterator[str]:
    took = "" if run.seconds is None else f" in {run.seconds:.1f} s"
    yield f"{run.job} {run.run_id}: {run.status}{took}"
    started_by = f", started by {run.parent}" if run.parent else ""
    yield f"  batch {run.batch_date}, protocol {run.protocol}, etude {run.package_version}{started_by}"
    yield f"  started {text_of(run.started_at)} UTC, attempt {run.attempt}"
    if run.error:
        yield f"  error: {run.error}"
    for number, error in enumerate(run.earlier_errors, 1):
        yield f"  error of attempt {number}: {error}"
    yield f"  read  {_lineage.versions_text(run.tables_read)}"
    yield f"  wrote {_lineage.versions_text(run.outputs)}"
    if run.row_counts:
        yield "  rows  " + ", ".join(f"{name} {count:,}" for name, count in run.row_counts.items())
    if run.facts:
        yield "  facts " + ", ".join(f"{name} {json.dumps(value)}" for name, value in run.facts.items())


def _settings_lines(settings: Mapping[str, tuple[Any, Any]], indent: str) -> Iterator[str]:
    for key, (value, default) in settings.items():
        shown = json.dumps(_said(value), ensure_ascii=False)
        yield f"{indent}{key} = {shown}  (default {json.dumps(default, ensure_ascii=False)})"


def _said(value: Any) -> Any:
    """Return a setting without the parts that say nothing: nulls and empty lists."""
    if isinstance(value, dict):
        return {key: _said(part) for key, part in value.items() if part not in (None, [], {})}
    return [_said(part) for part in value] if isinstance(value, list) else value


def as_dict(runs: Sequence[Run], release: Release | None, made: Source) -> dict[str, Any]:
    """Return the run for a program."""
    return {
        "run_id": made.run.run_id,
        "jobs": [{**vars(each), "differing": dict(_pairs(each))} for each in runs],
        "served": served_tables(release, runs[0].run_id),
        "made": _lineage.tree_dict(made),
    }


def _pairs(run: Run) -> Iterator[tuple[str, Any]]:
    for key, value, default in non_defaults(run.settings):
        yield key, {"value": value, "default": default}
