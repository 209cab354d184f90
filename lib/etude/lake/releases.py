"""Publish runs: the table `releases` says which runs were served since when, and the last row which are served now.

Rows are only added. To roll back is to publish an earlier release's runs again, so neither VACUUM nor a rollback can
destroy the record of what was served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from etude.config.lake import InputsSettings
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


def choose_upstream(
    job: str, run: Run, graph: RunGraph, release: Release | None, inputs: InputsSettings, before: Run | None
) -> str:
    """Return the run_id of an earlier stage that a run builds on; see RunGraph.choose.

    Args:
        job: the earlier stage.
        run: the run, with the upstream runs that it has chosen so far.
        graph: the lake's runs.
        release: the current release.
        inputs: the settings that name upstream runs.
        before: the earlier attempt of `run`.

    Raises:
        InputMissingError: there is none, or the one asked for has not succeeded.
        SettingsError: the one asked for ran under another protocol.
    """
    served = None if release is None else release.run_of(job)
    return graph.choose(job, run, getattr(inputs, f"{job}_run_id"), served, before)


def served_by(release: Release | None, graph: RunGraph, batch_date: date) -> str | None:
    """Return the served topn run if it works for a later batch than `batch_date`, else None.

    A run of an earlier batch (a backfill) leaves the lists of a later one in their place.
    """
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


@contextmanager
def publishing(
    lake: Lake, published_by: str, lease_timeout_s: int
) -> Iterator[tuple[Release | None, Callable[[dict[str, str], str], Release]]]:
    """Yield the current release, and a function that adds the next one; meanwhile no other run can add one.

    Args:
        lake: the lake.
        published_by: the run or the command that asks for it.
        lease_timeout_s: `lake.lease_timeout_s`.

    Yields:
        The current release, and a function of table -> run_id and the reason.

    Raises:
        LeaseTakenError: another run was publishing for two minutes.
    """
    uri = folders.lease(lake.root, "releases")
    with leased(lake.session, uri, published_by, lease_timeout_s, _WAIT_S) as check_lease:
        now = current(lake)

        def add(run_ids: dict[str, str], reason: str) -> Release:
            number, previous = (1, None) if now is None else (now.release + 1, now.release)
            made = Release(number, run_ids, published_by, previous, utc_now(), reason)
            check_lease()
            lake.replace("releases", [vars(made)], release=made.release)
            return made

        yield now, add


def promote(lake: Lake, run_id: str, published_by: str, lease_timeout_s: int) -> Release:
    """Publish a topn run and the runs that it rests on.

    Raises:
        InputMissingError: no topn run of that id has succeeded.
        DataCheckError: it may not be published; see `check`.
    """
    tables = check(lake, ledger.graph(lake), run_id)
    with publishing(lake, published_by, lease_timeout_s) as (_, add):
        return add(tables, f"topn run {run_id} promoted")


def rollback(lake: Lake, release: int | None, published_by: str, lease_timeout_s: int) -> Release:
    """Publish the runs of an earlier release again; of the one before the current release unless one is named.

    Raises:
        InputMissingError: there is no such release.
        DataCheckError: its runs may not be published; see `check`.
    """
    with publishing(lake, published_by, lease_timeout_s) as (now, add):
        wanted = release if release is not None else (now.previous if now is not None else None)
        found = next((each for each in releases(lake) if each.release == wanted), None)
        if found is None:
            there = f"release {wanted} is not in the lake" if wanted else "there is no earlier release"
            raise InputMissingError(f"{there}; `etude release list` shows the releases")
        topn = str(found.run_of("topn"))
        if check(lake, ledger.graph(lake), topn) != found.run_ids:
            raise DataCheckError(
                f"topn run {topn} has run again since release {found.release}, on other runs: the lists of that "
                f"release are gone; `etude release promote {topn}` serves those that it has now"
            )
        return add(found.run_ids, f"rollback to release {found.release}")
