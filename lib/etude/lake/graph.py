"""Answer how the runs of a lake build on one another, from the table `runs` loaded once.

A run names the runs of earlier stages that it builds on (`upstream`). Of tables that runs share, such as plays, tracks
and mel, it knows the Delta version that it read. The commit of that version says which run wrote it, since every job
writes its name and run_id into its commits. The ledger alone can't tell: a rerun's row holds the versions of its last
attempt only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.lake.runs import ABSENT, Run
from etude.lake.tables import TABLES
from etude.stages import STAGES, makers, only_maker, stage_of

Commits = Callable[[str, int], Iterator[tuple[int, str, str]]]
"""(table, version) -> (version, job, run_id) of the commits of its writers until then, the last one first."""


@dataclass(frozen=True)
class Source:
    """Hold a run and the runs that wrote what it read."""

    run: Run
    sources: tuple[Source, ...]


class RunGraph:
    """Hold the runs of a lake and answer questions about their ancestry."""

    def __init__(
        self,
        runs: Iterable[Run],
        commits: Commits = lambda table, version: iter(()),  # noqa: ARG005
        facts: Callable[[Run], Mapping[str, Any]] = lambda run: run.facts,
    ):
        """Take the runs, and how to read more.

        Args:
            runs: all runs, maybe without their facts.
            commits: reads the tables' logs; without it, the writer of a shared table follows from the ledger.
            facts: reads the facts of a run.
        """
        self._runs = {run.key: run for run in runs}
        self._commits = commits
        self._facts = facts

    def run(self, job: str, run_id: str) -> Run | None:
        """Return a run, however it ended; None if there is none."""
        return self._runs.get((job, run_id))

    def succeeded(self, job: str, run_id: str) -> Run | None:
        """Return a run whose rows count; None if there is none."""
        run = self.run(job, run_id)
        return run if run is not None and run.succeeded else None

    def newest(self, jobs: Sequence[str], protocols: Sequence[str] | None = None) -> list[Run]:
        """Return the succeeded runs of these jobs under these protocols, the last to end first; no trials."""
        found = [
            run
            for run in self._runs.values()
            if run.succeeded
            and run.job in jobs
            and (protocols is None or run.protocol in protocols)
            and not self.is_trial(run)
        ]
        return sorted(found, key=lambda run: (str(run.ended_at), run.job), reverse=True)

    def is_trial(self, run: Run) -> bool:
        """Tell if a comparison or a search of settings started the run; no run builds on it unless it names it."""
        parents = ((stage.name, str(run.parent)) for stage in STAGES.values() if stage.starts_trials)
        return run.parent is not None and any(key in self._runs for key in parents)

    def changed_since(self, moment: datetime) -> bool:
        """Tell if a run of a stage that writes tables has started or ended since; moment has a time zone."""
        return any((run.ended_at or run.started_at) > moment for run in self._runs.values() if run.job in makers())

    def parents(self, run: Run) -> list[Run | None]:
        """Return the upstream runs; None for each whose rows don't count (any more)."""
        return [self.succeeded(job, run_id) for job, run_ids in run.upstream.items() for run_id in run_ids]

    def is_outdated(self, job: str, run_id: str) -> bool:
        """Tell if a run that this run builds on, at any remove, has run again since or no longer counts.

        The ids alone don't tell: a wmf run that is fitted again under its run_id leaves factors in another basis. If it
        builds on another wmf run, it may run again: what extends it has rows of its own, in the same basis. True also
        if the run itself hasn't succeeded.
        """
        run = self.succeeded(job, run_id)
        if run is None:
            return True
        seen, waiting = {run.key}, [run]
        while waiting:  # a loop, since runs that extend one another may be hundreds
            each = waiting.pop()
            for parent in self.parents(each):
                if parent is None or parent.ended_at is None:
                    return True
                if parent.ended_at > each.started_at and not self._kept_basis(each, parent):
                    return True
                if parent.key not in seen:
                    seen.add(parent.key)
                    waiting.append(parent)
        return False

    def _kept_basis(self, run: Run, parent: Run) -> bool:
        """Tell if a wmf run still has the basis of the wmf run that it extends, which has run again since."""
        if run.job != "wmf" or parent.job != "wmf":
            return False
        named = [self._facts(each).get("basis") for each in (run, parent)]
        fit = self.succeeded("wmf", str(named[0]))
        return named[0] == named[1] and fit is not None and fit.ended_at is not None and fit.ended_at <= run.started_at

    def basis(self, run_id: str) -> Run:
        """Return the wmf fit whose basis a wmf run's factors have: itself, or the one that it builds on at any remove.

        Raises:
            DataCheckError: one of these runs doesn't count (any more).
        """
        run = self.succeeded("wmf", run_id)
        while run is not None and run.upstream_run("wmf"):
            run = self.succeeded("wmf", str(run.upstream_run("wmf")))
        if run is None:
            raise DataCheckError(f"wmf run {run_id}, or a run that it builds on, has no succeeded row in runs")
        return run

    def choose(
        self, job: str, run: Run, asked: str | None = None, served: str | None = None, before: Run | None = None
    ) -> str:
        """Choose the run of an earlier stage that `run` builds on.

        The order is: the run that `inputs.<job>_run_id` asks for; the one that shares the run_id; the newest that was
        built on what `run` has chosen already; the newest of the batch_date; the served one (protocol none only).
        Each must have succeeded under the same protocol. A run that extends another run of its own job never takes
        itself; a second attempt extends the run that the first attempt extended. Of a stage that chooses values, a run
        takes those of an evaluated run: see `_evaluated`.

        Args:
            job: the earlier stage.
            run: the run that needs it, with the upstream runs it has chosen so far.
            asked: run_id that the settings ask for.
            served: run_id of that stage in the current release.
            before: the earlier attempt of `run`.

        Raises:
            InputMissingError: there is none, or the one asked for has not succeeded.
            SettingsError: the one asked for ran under another protocol.
        """
        if job == run.job and stage_of(job).chooses:
            return self._evaluated(run, before)
        if asked is not None:
            return self._asked_for(job, asked, run)
        candidates = self.newest((job,), (run.protocol,))
        same = run.run_id
        if job == run.job:
            candidates = [each for each in candidates if each.run_id != run.run_id]
            same = (before and before.upstream_run(job)) or run.run_id
        choices: list[Callable[[Run], bool]] = [lambda each: each.run_id == same]
        if run.upstream:
            choices.append(lambda each: _builds_on_all(each, run.upstream))
        choices.append(lambda each: each.batch_date == run.batch_date)
        if run.protocol == "none":
            choices.append(lambda each: each.run_id == served)
        for fits in choices:
            found = next(filter(fits, candidates), None)
            if found is not None:
                return found.run_id
        raise InputMissingError(
            f"found no succeeded {job} run for batch {run.batch_date} with evaluation.protocol={run.protocol}; "
            f"run jobs/{job}.py first, or name one with inputs.{job}_run_id"
        )

    def _evaluated(self, run: Run, before: Run | None) -> str:
        """Choose the run under strict whose choices a run of the same stage takes.

        The order is: the one that the earlier attempt took; the newest of the batch_date; the newest.
        """
        taken = before and before.upstream_run(run.job)
        candidates = [each for each in self.newest((run.job,), ("strict",)) if each.run_id != run.run_id]
        if not candidates:
            raise InputMissingError(f"found no succeeded {run.job} run with evaluation.protocol=strict")
        # The newest comes first, and max returns the first of equals.
        return max(candidates, key=lambda each: (each.run_id == taken, each.batch_date == run.batch_date)).run_id

    def _asked_for(self, job: str, asked: str, run: Run) -> str:
        found = self.succeeded(job, asked)
        if found is None:
            raise InputMissingError(f"inputs.{job}_run_id={asked}: the lake has no succeeded {job} run of that id")
        if found.protocol != run.protocol:
            raise SettingsError(
                f"inputs.{job}_run_id={asked}: it ran with evaluation.protocol={found.protocol}, this run has "
                f"evaluation.protocol={run.protocol}; a run builds on runs of its own protocol only"
            )
        return asked

    def sources(self, run: Run) -> list[Run]:
        """Return the runs that wrote what a run read, later stages first; ingest reads nobody's tables."""
        found: dict[tuple[str, str], Run] = {}
        for source in (*self._writers_read_by(run), *self.parents(run)):
            if source is not None and source.job in makers():
                found.setdefault(source.key, source)
        order = makers()
        return sorted(found.values(), key=lambda each: -order.index(each.job))

    def _writers_read_by(self, run: Run) -> Iterator[Run | None]:
        for table, version in run.tables_read.items():
            # For a table with run_ids, upstream says whose rows are read; rejects are nobody's source.
            if table not in TABLES or TABLES[table].has_runs or table in ("rejects", "releases"):
                continue
            told = (self.succeeded(*key) for _, *key in self._commits(table, version))
            writer = next((each for each in told if each is not None), None) or self._last_before(table, version, run)
            if writer is not None and writer.job != run.job:
                yield writer

    def counted(self, table: str, newest: int | None, reader: str) -> int | None:
        """Return the version of a table that a run of the stage `reader` reads.

        That is the newest, unless one stage alone makes the table's rows, and its runs commit several tables one after
        another. Then a version counts if no run that hasn't succeeded has written since the last one that has. What
        others committed since, such as OPTIMIZE or a person's DELETE, counts too. The maker itself reads the newest.

        Args:
            table: name of the table.
            newest: its newest version; None if there is no table.
            reader: name of the stage.

        Returns:
            None if there is no version that counts.
        """
        maker = only_maker(table)
        if newest is None or maker is None or maker.name == reader:
            return newest
        counted = max(
            (
                max(run.inputs.get(table, ABSENT), run.outputs.get(table, ABSENT))
                for run in self._runs.values()
                if run.succeeded and run.job == maker.name
            ),
            default=ABSENT,
        )
        found = newest
        for version, *key in self._commits(table, newest):
            if version <= counted:
                break
            if key[0] == maker.name and self.succeeded(*key) is None:
                found = version - 1
        return None if found == ABSENT else found

    def _last_before(self, table: str, version: int, reader: Run) -> Run | None:
        """By the ledger: of the runs that started before the reader, the last to write the table until the version."""
        writers = [
            each
            for each in self._runs.values()
            if each.succeeded
            and each.job in makers()
            and each.started_at <= reader.started_at
            and each.outputs.get(table, version + 1) <= version
        ]
        return max(writers, key=lambda each: (each.outputs[table], each.started_at), default=None)

    def chain(self, last: Run | None) -> dict[str, Run]:
        """Return the run and those it came from, by job; of several runs of a job, the one reached first."""
        chain: dict[str, Run] = {}

        def follow(run: Run) -> None:
            if run.job not in chain:
                chain[run.job] = run
                for source in self.sources(run):
                    follow(source)

        if last is not None:
            follow(last)
        return {job: chain[job] for job in makers() if job in chain}

    def tree(self, run: Run, above: tuple[tuple[str, str], ...] = ()) -> Source:
        """Return all runs behind a run; one that several others read stands below each of them."""
        here = (*above, run.key)
        found = [each for each in self.sources(run) if each.key not in here]
        return Source(run, tuple(self.tree(each, here) for each in found))


def _builds_on_all(run: Run, chosen: dict[str, list[str]]) -> bool:
    return all(set(run_ids) <= set(run.upstream.get(job, ())) for job, run_ids in chosen.items())
