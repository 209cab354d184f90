"""Write the run ledger, the table `runs`, and load it as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from etude.config.lake import LakeSettings
from etude.errors import LeaseTakenError, SettingsError
from etude.lake import folders
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.lease import is_held_by
from etude.lake.runs import DEAD, LIGHT, Run
from etude.stages import STAGES

_ENDED_SILENTLY = "the process ended without recording a result (killed?)"


def begin(lake: Lake, run: Run) -> Run | None:
    """Write a run as running; return the earlier attempt under its run_id, or None.

    An earlier attempt's number, errors and written versions carry on. It may have ended without a result, if its
    process was killed.

    Raises:
        LeaseTakenError: a run of this run_id is at work on another batch or protocol, so under another lease.
        SettingsError: the run starts others, and another job has started others under this run_id.
    """
    _check_namesakes(lake, run)
    earlier = find(lake, run.job, run.run_id)
    if earlier is not None:
        elsewhere = earlier.status == "running" and lease(lake, earlier) != lease(lake, run)
        if elsewhere and _lives(lake, earlier, earlier.settings):
            raise LeaseTakenError(
                f"run {run.run_id} is at work on batch {earlier.batch_date} under protocol {earlier.protocol}: give "
                "this one another --run-id, or wait until it ends"
            )
        run.attempt = earlier.attempt + 1
        # An attempt that finds nothing new to write (mel, ingest) still leaves the rows of the one before.
        run.outputs = {**earlier.outputs, **run.outputs}
        run.earlier_errors = list(earlier.earlier_errors)
        if not earlier.succeeded:
            run.earlier_errors.append(earlier.error or _ENDED_SILENTLY)
    write(lake, run)
    return earlier


def _check_namesakes(lake: Lake, run: Run) -> None:
    """Check that only one job starts runs under a run_id: `parent` names it alone, and tells trials from other runs."""
    starts = {stage.name for stage in STAGES.values() if stage.starts_trials or stage.name == "pipeline"}
    if run.job not in starts:
        return
    others = {row["job"] for row in lake.look("runs", ["job"], run_id=run.run_id)} & starts - {run.job}
    if others:
        raise SettingsError(
            f"--run-id {run.run_id}: the lake has a run of {others.pop()} of that id, and which runs {run.job} started "
            "couldn't be told from its; give another --run-id"
        )


def write(lake: Lake, run: Run) -> None:
    """Put a run in the place of its row."""
    lake.replace("runs", [run.as_row()], job=run.job, run_id=run.run_id)


def find(lake: Lake, job: str, run_id: str) -> Run | None:
    """Return one whole run, settings included; None if there is none."""
    rows = lake.look("runs", job=job, run_id=run_id)
    return Run.from_row(rows[0]) if rows else None


def lease(lake: Lake, run: Run) -> str:
    """Return the URI of the lease that a run holds while it works: that of its stage, or of its batch."""
    stage = STAGES.get(run.job)
    by_batch = f"{run.batch_date}.{run.protocol}.{run.job}"
    return folders.lease(lake.root, run.job if stage is not None and stage.lease == "lake" else by_batch)


def as_they_are(lake: Lake, runs: Sequence[Run]) -> list[Run]:
    """Return the runs as they are now; one that says `running` and isn't gets the status `dead`, and what it wrote.

    A living run holds its lease. Its row is read again before it counts as dead: it may have ended in the meantime.
    """
    unfinished = [run for run in runs if run.status == "running"]
    if not unfinished:
        return list(runs)
    settings = {run.key: run.settings for run in _rows(lake, unfinished)}
    silent = [run for run in unfinished if not _lives(lake, run, settings.get(run.key, {}))]
    found = {run.key: run for run in _rows(lake, silent)}
    dead = {key: _dead(lake, run) if run.status == "running" else run for key, run in found.items()}
    return [dead.get(run.key, run) for run in runs]


def _rows(lake: Lake, runs: Sequence[Run]) -> list[Run]:
    keys = {run.key for run in runs}
    rows = lake.look("runs", run_id=sorted({run.run_id for run in runs})) if runs else []
    return [run for run in map(Run.from_row, rows) if run.key in keys]


def _lives(lake: Lake, run: Run, settings: dict[str, Any]) -> bool:
    timeout_s = settings.get("lake", {}).get("lease_timeout_s", LakeSettings().lease_timeout_s)
    return is_held_by(lease(lake, run), run.run_id, timeout_s)


def _dead(lake: Lake, run: Run) -> Run:
    """Return a run that ended silently; its commits say what it wrote, since its row was to say so at the end."""
    outputs = dict(run.outputs)
    stage = STAGES.get(run.job)
    for table in () if stage is None else stage.writes:
        newest = lake.version(table)
        commits = () if newest is None else lake.commits(table, newest)
        version = next((number for number, *key in commits if tuple(key) == run.key), None)
        if version is not None:
            outputs[table] = version
    return replace(run, status=DEAD, error=_ENDED_SILENTLY, outputs=outputs)


def whole(lake: Lake, run: Run) -> Run:
    """Return a run of a graph with its settings and facts."""
    return find(lake, run.job, run.run_id) or run


def graph(lake: Lake) -> RunGraph:
    """Load all runs, without their settings."""
    return RunGraph(map(Run.from_row, lake.look("runs", LIGHT)), lake.commits, lambda run: whole(lake, run).facts)
