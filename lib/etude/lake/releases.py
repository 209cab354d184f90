"""Publish runs: the table `releases` says which runs were served since when, and the last row which are served now.

Rows are only added. To roll back is to publish an earlier release's runs again, so neither VACUUM nor a rollback can
destroy the record of what was served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from etude.errors import DataCheckError, InputMissingError
from etude.lake import folders, ledger
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.lease import leased
from etude.lake.runs import Run, utc_now
from etude.stages import STAGES, stage_of

_WAIT_S = 120.0
"""Publishing takes seconds; whoever comes second waits that long."""


@dataclass(frozen=True)
class Release:
    """Hold one row of `releases`."""

    release: int
    run_ids: dict[str, str]
    """Table -> run_id."""
    published_by: str
    previous: int | None
    since: datetime
    reason: str

    def run_of(self, stage: str) -> str | None:
        """Return the run_id that the release serves of a stage; None if it serves none."""
        tables = stage_of(stage).publishes
        return self.run_ids.get(tables[0]) if tables else None

    def runs(self) -> dict[str, str]:
        """Return stage -> run_id of the runs that the release serves."""
        found = {name: self.run_of(name) for name in STAGES}
        return {name: run_id for name, run_id in found.items() if run_id is not None}


def releases(lake: Lake) -> list[Release]:
    """Return all releases, the newest first."""
    found = [Release(**row) for row in lake.look("releases")]
    return sorted(found, key=lambda each: each.release, reverse=True)


def current(lake: Lake) -> Release | None:
    """Return the release that is served; None if nothing was ever published."""
    return next(iter(releases(lake)), None)


def served_by(lake: Lake, graph: RunGraph, batch_date: date) -> str | None:
    """Return the served topn run if it works for a later batch than `batch_date`, else None.

    A run of an earlier batch (a backfill) leaves the lists of a later one in their place.
    """
    release = current(lake)
    run = None if release is None else graph.run("topn", str(release.run_of("topn")))
    return run.run_id if run is not None and run.batch_date > batch_date else None


def tables_of(graph: RunGraph, run: Run) -> dict[str, str]:
    """Return table -> run_id of what a topn run's lists rest on: its own rows and those of its upstream runs."""
    return {table: each.run_id for each in _with_parents(graph, run) for table in stage_of(each.job).publishes}


def _with_parents(graph: RunGraph, run: Run) -> list[Run]:
    return [run, *(parent for parent in graph.parents(run) if parent is not None)]


def check(lake: Lake, graph: RunGraph, run_id: str) -> dict[str, str]:
    """Check that a topn run may be published; return its tables as `tables_of`.

    Raises:
        InputMissingError: no topn run of that id has succeeded.
        DataCheckError: it withheld plays, rests on a run that has changed since, or its rows are not all there.
    """
    run = graph.succeeded("topn", run_id)
    if run is None:
        raise InputMissingError(f"topn run {run_id}: no such run has succeeded; `etude runs --job topn` lists them")
    if run.protocol != "none":
        raise DataCheckError(
            f"topn run {run_id} ran with evaluation.protocol={run.protocol}: its lists were made without the held-out "
            "plays; publish a run with evaluation.protocol=none"
        )
    if graph.is_outdated("topn", run_id):
        raise DataCheckError(f"topn run {run_id} rests on a run that has run again since: run jobs/topn.py again")
    for each in _with_parents(graph, run):
        for table in stage_of(each.job).publishes:
            counted = each.row_counts.get(table)
            found = None if counted is None else lake.count(table, run_id=each.run_id)
            if found != counted:
                raise DataCheckError(
                    f"{table} has {found} rows of {each.job} run {each.run_id}, which wrote {counted}: "
                    f"run jobs/{each.job}.py --run-id {each.run_id} again"
                )
    return tables_of(graph, run)


def publish(
    lake: Lake,
    choose: Callable[[Release | None], tuple[dict[str, str], str]],
    published_by: str,
    lease_timeout_s: int,
) -> Release:
    """Add a release while no other can be added.

    Args:
        lake: the lake.
        choose: given the current release, returns table -> run_id and the reason.
        published_by: the run or the command that asks for it.
        lease_timeout_s: `lake.lease_timeout_s`.

    Returns:
        The new release.

    Raises:
        LeaseTakenError: another run was publishing for two minutes.
    """
    uri = folders.lease(lake.root, "releases")
    with leased(lake.session, uri, published_by, lease_timeout_s, _WAIT_S) as check_lease:
        now = current(lake)
        run_ids, reason = choose(now)
        number, previous = (1, None) if now is None else (now.release + 1, now.release)
        made = Release(number, run_ids, published_by, previous, utc_now(), reason)
        check_lease()
        lake.replace("releases", [vars(made)], release=made.release)
        return made


def promote(lake: Lake, run_id: str, published_by: str, lease_timeout_s: int) -> Release:
    """Publish a topn run and the runs that it rests on.

    Raises:
        InputMissingError: no topn run of that id has succeeded.
        DataCheckError: it may not be published; see `check`.
    """
    tables = check(lake, ledger.graph(lake), run_id)
    return publish(lake, lambda _: (tables, f"topn run {run_id} promoted"), published_by, lease_timeout_s)


def rollback(lake: Lake, release: int | None, published_by: str, lease_timeout_s: int) -> Release:
    """Publish the runs of an earlier release again; of the one before the current release unless one is named.

    Raises:
        InputMissingError: there is no such release.
        DataCheckError: its runs may not be published; see `check`.
    """

    def choose(now: Release | None) -> tuple[dict[str, str], str]:
        wanted = release if release is not None else (now.previous if now is not None else None)
        found = next((each for each in releases(lake) if each.release == wanted), None)
        if found is None:
            there = f"release {wanted} is not in the lake" if wanted else "there is no earlier release"
            raise InputMissingError(f"{there}; `etude release list` shows the releases")
        check(lake, ledger.graph(lake), str(found.run_of("topn")))
        return found.run_ids, f"rollback to release {found.release}"

    return publish(lake, choose, published_by, lease_timeout_s)
