"""Write the run ledger, the table `runs`, and load it as a graph."""

from __future__ import annotations

from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.runs import LIGHT, Run


def begin(lake: Lake, run: Run) -> Run | None:
    """Write a run as running; return the earlier attempt under its run_id, or None.

    An earlier attempt's number, errors and written versions carry on. It may have ended without a result, if its
    process was killed.
    """
    earlier = find(lake, run.job, run.run_id)
    if earlier is not None:
        run.attempt = earlier.attempt + 1
        # An attempt that finds nothing new to write (mel, ingest) still leaves the rows of the one before.
        run.outputs = {**earlier.outputs, **run.outputs}
        run.earlier_errors = list(earlier.earlier_errors)
        if not earlier.succeeded:
            run.earlier_errors.append(earlier.error or "the process ended without recording a result (killed?)")
    write(lake, run)
    return earlier


def write(lake: Lake, run: Run) -> None:
    """Put a run in the place of its row."""
    lake.replace("runs", [run.as_row()], job=run.job, run_id=run.run_id)


def find(lake: Lake, job: str, run_id: str) -> Run | None:
    """Return one whole run, settings included; None if there is none."""
    rows = lake.look("runs", job=job, run_id=run_id)
    return Run.from_row(rows[0]) if rows else None


def whole(lake: Lake, run: Run) -> Run:
    """Return a run of a graph with its settings and facts."""
    return find(lake, run.job, run.run_id) or run


def graph(lake: Lake) -> RunGraph:
    """Load all runs, without their settings."""
    return RunGraph(map(Run.from_row, lake.look("runs", LIGHT)), lake.committers)
