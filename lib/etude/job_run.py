"""Give a job's `run` function what it works with: tables of the lake, upstream runs, counts and figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.arguments import Arguments
from etude.config import Settings
from etude.errors import DataCheckError
from etude.lake import ledger, releases
from etude.lake.conflicts import no_fence
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.metrics import Metric
from etude.lake.runs import ABSENT, Run
from etude.lake.tables import TABLES
from etude.logs import progress
from etude.stages import Stage

_Item = TypeVar("_Item")


@dataclass
class JobRun:
    """Give a job's `run` function its session, settings, lake and record, and keep count of what it reads and writes.

    It reads and writes the tables that its stage declares, and no others.
    """

    stage: Stage
    spark: SparkSession
    settings: Settings
    lake: Lake
    record: Run
    log: logging.Logger
    arguments: Arguments
    earlier: Run | None = None
    """The earlier attempt under this run_id."""
    check_lease: Callable[[], None] = no_fence
    """Raises if another run has taken over this run's lease."""
    publishes: bool = False
    """Whether this run and its upstream runs are published once the job has succeeded."""
    _metric_rows: list[Metric] = field(default_factory=list)
    _wrote: dict[str, int] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of this run."""
        return self.record.run_id

    @property
    def batch_date(self) -> date:
        """The batch (UTC date) that this run works for."""
        return self.record.batch_date

    @property
    def resume(self) -> bool:
        """Whether the run goes on where an earlier attempt of its run_id stopped."""
        return self.arguments.resume

    @cached_property
    def graph(self) -> RunGraph:
        """The lake's runs, as they are when a job first asks."""
        return ledger.graph(self.lake)

    def read(self, table: str, version: int | None = None, **equals: Any) -> DataFrame:
        """Return the rows of a table that fulfil every `column=value`; the version read goes into the ledger.

        The version is pinned at the first read, so that everything that a run reads of a table is one snapshot. A table
        that is absent then stays empty for this run. What an unfinished run has written doesn't count: see
        RunGraph.counted.

        Raises:
            LookupError: the stage doesn't declare that it reads the table.
        """
        self._must_declare("reads", table)
        if version is None:
            version = self.record.inputs.get(table)
        if version is None:
            version = self._version_that_counts(table)
        self.record.inputs[table] = ABSENT if version is None else version
        return self.lake.read(table, self.record.inputs[table], **equals)

    def _version_that_counts(self, table: str) -> int | None:
        newest = self.lake.version(table)
        version = self.graph.counted(table, newest, self.stage.name)
        if version != newest:
            self.log.warning(
                "table=%s version=%s newest=%s reason='a run that has not succeeded wrote what is newer'",
                *(table, version, newest),
            )
        return version

    def written(self, table: str, **equals: Any) -> DataFrame:
        """Return the rows of a table as this run left it, or as it read it if it has written nothing."""
        self._must_declare("writes", table)
        return self.lake.read(table, self._wrote.get(table, self.record.inputs.get(table)), **equals)

    def replace(self, table: str, rows: DataFrame, **equals: Any) -> None:
        """Put `rows` in the place of this run's rows, or of all rows that fulfil every `column=value`.

        The columns run_id and job, if the table has them, are set here.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        for column, value in (("run_id", self.run_id), ("job", self.stage.name)):
            if column in TABLES[table].column_names:
                rows = rows.withColumn(column, F.lit(value))
                equals[column] = value
        self._record(table, self.lake.replace(table, rows, self.check_lease, **equals))

    def merge(self, table: str, rows: DataFrame) -> None:
        """Update and insert `rows` by the table's key.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        self._record(table, self.lake.merge(table, rows, self.check_lease))

    def delete(self, table: str, keys: DataFrame) -> None:
        """Remove the rows whose key stands in `keys`.

        Raises:
            LookupError: the stage doesn't declare that it writes the table.
        """
        self._must_declare("writes", table)
        self._record(table, self.lake.delete(table, keys, self.check_lease))

    def _record(self, table: str, version: int) -> None:
        # Apart from outputs, which also hold what an earlier attempt wrote.
        self._wrote[table] = self.record.outputs[table] = version

    def _must_declare(self, what: str, name: str) -> None:
        declared = getattr(self.stage, what)
        if name not in declared:
            raise LookupError(
                f"{self.stage.name}: {name} is not among `{what}` of its entry in etude/stages.py "
                f"({', '.join(declared) or 'none'}); add it there"
            )

    def upstream(self, job: str) -> str:
        """Return the run_id of the earlier stage's run that this run builds on (see RunGraph.choose); it is recorded.

        Raises:
            LookupError: the stage doesn't declare that it builds on the other.
        """
        self._must_declare("builds_on", job)
        chosen = self.record.upstream_run(job)
        if chosen is None:
            release = releases.current(self.lake)
            chosen = releases.choose_upstream(job, self.record, self.graph, release, self.settings.inputs, self.earlier)
            self.record.upstream[job] = [chosen]
        return chosen

    def count(self, name: str, n: int) -> None:
        """Record a number of rows for the JSON line and the ledger."""
        self.record.row_counts[name] = int(n)

    def note(self, key: str, value: Any) -> None:
        """Record a fact for the JSON line and the ledger."""
        self.record.facts[key] = value

    def metrics(self, rows: Iterable[Metric]) -> None:
        """Keep figures for the table `metrics`; they are written when the job ends well."""
        self._metric_rows.extend(rows)

    def progress(self, items: Iterable[_Item], desc: str, total: int | None = None) -> Iterator[_Item]:
        """Pass items on, and show how far the work is."""
        return progress(items, desc, total, self.log)

    def write_metrics(self) -> None:
        """Write what `metrics` kept, in the place of what an earlier attempt wrote."""
        if not self._metric_rows and (self.record.attempt == 1 or "metrics" not in self.stage.writes):
            return
        self._must_declare("writes", "metrics")
        key = {"run_id": self.run_id, "job": self.stage.name}
        common = key | {"protocol": self.record.protocol}
        rows = [common | row._asdict() | {"value": float(row.value)} for row in self._metric_rows]
        self._record("metrics", self.lake.replace("metrics", rows, self.check_lease, **key))

    def write_release(self) -> None:
        """Add a release of this run, unless the lists of a later batch are served: a backfill doesn't replace them.

        Raises:
            DataCheckError: what the lists rest on has changed while they were made.
        """
        graph = ledger.graph(self.lake)
        if graph.is_outdated(self.stage.name, self.run_id):
            raise DataCheckError(
                f"a run that topn run {self.run_id} rests on has run again since; run jobs/topn.py again"
            )
        by, timeout_s = f"{self.stage.name} {self.run_id}", self.settings.lake.lease_timeout_s
        with releases.publishing(self.lake, by, timeout_s) as (now, add):
            later = releases.served_by(now, graph, self.batch_date)
            self.note("published", later or self.run_id)
            if later is None:
                add(releases.tables_of(graph, self.record), f"topn run {self.run_id} succeeded")
            else:
                self.log.warning("job=%s published=%s reason='it works for a later batch'", self.stage.name, later)
