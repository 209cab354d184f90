"""Read and write the lake's tables: typed reads, and writes that are atomic and can be repeated.

This is the one way into the lake. Frames go through Spark. A few rows that the driver holds or wants, and new tables,
go through the library that `small.library` chooses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from etude import storage
from etude.config import Settings
from etude.errors import DataCheckError, InputMissingError
from etude.frames import arrow_table
from etude.lake import folders, small
from etude.lake.conditions import fulfilling
from etude.lake.conflicts import commit, no_fence
from etude.lake.conform import conform
from etude.lake.runs import ABSENT, Run
from etude.lake.schema import Table
from etude.lake.tables import TABLES

Row = Mapping[str, Any]
Fence = small.Fence

_COMMIT = re.compile(r"/(\d{20})\.json$")
_COMMITTER = re.compile(r"job=(\S+) run_id=(\S+)")
_LOOK_BACK = 100


class Lake:
    """Hold the tables under one root."""

    def __init__(self, root: str, spark: SparkSession | None = None, writer: str | None = None):
        """Open a lake.

        Args:
            root: a URI or a local path.
            spark: the session; without one, frames can't be read or written.
            writer: who writes, for the tables' histories: `job=... run_id=...`.
        """
        self.root = storage.to_uri(root)
        self.session = spark
        self._small = small.library(self.root, spark, writer)
        self._collects = False

    @property
    def spark(self) -> SparkSession:
        """The session.

        Raises:
            RuntimeError: the lake was opened without one.
        """
        if self.session is None:
            raise RuntimeError(f"{self.root} was opened without a Spark session, which this call needs")
        return self.session

    def uri(self, table: str) -> str:
        """Return where a table lies, in the form that Spark expects."""
        return storage.for_spark(folders.table(self.root, TABLES[table].name))

    def exists(self, table: str) -> bool:
        """Tell if the table has been created."""
        return self.version(table) is not None

    def version(self, table: str) -> int | None:
        """Return the newest Delta version, or None if there is no table.

        It follows from the log's file names (`<version>.json`, 20 digits, by the Delta protocol). DESCRIBE HISTORY
        would start a Spark job for it, several times per run.
        """
        commits = storage.list_files(folders.log(self.root, TABLES[table].name))
        versions = [int(found[1]) for found in map(_COMMIT.search, commits) if found]
        return max(versions, default=None)

    def commits(self, table: str, version: int) -> Iterator[tuple[int, str, str]]:
        """Yield (version, job, run_id) of the commits that jobs had made to a table by then, the last one first.

        Commits of others, such as OPTIMIZE or a new constraint, make no rows and are left out. A log that was cleaned
        up, or is longer than 100 commits, tells of its newest part only.
        """
        for number in range(version, max(version - _LOOK_BACK, -1), -1):
            commit = self._commit(table, number)
            if commit is None:
                return
            committer = _committer(commit)
            if committer is not None:
                yield number, *committer

    def changed_since(self, table: str, version: int) -> bool:
        """Tell if a commit after a version has changed the table's rows; OPTIMIZE only moves them.

        True also if the log doesn't tell any more. The version ABSENT stands for no table.
        """
        newest = self.version(table)
        return any(changed for changed, _ in self._changes(table, version, ABSENT if newest is None else newest))

    def changed_by_others(self, table: str, run: Run) -> bool:
        """Tell if somebody else has changed a table's rows between the version that a run read and the one it left."""
        read, left = run.inputs.get(table), run.outputs.get(table)
        if read is None or left is None:
            return False
        return any(changed and by != run.key for changed, by in self._changes(table, read, left))

    def _changes(self, table: str, version: int, last: int) -> Iterator[tuple[bool, tuple[str, str] | None]]:
        """Yield for each commit after a version whether it changed rows, or may have, and which job's run made it."""
        for number in range(version + 1, last + 1):
            commit = self._commit(table, number)
            if commit is None:
                yield True, None
                continue
            actions = map(json.loads, commit)
            changed = any(action.get(kind, {}).get("dataChange") for action in actions for kind in ("add", "remove"))
            yield changed, _committer(commit)

    def _commit(self, table: str, version: int) -> list[bytes] | None:
        """Return the lines of a commit, JSON objects; None if the log was cleaned of it."""
        try:
            return storage.read_bytes(f"{folders.log(self.root, table)}/{version:020d}.json").splitlines()
        except FileNotFoundError:
            return None

    def read(self, table: str, version: int | None = None, **equals: Any) -> DataFrame:
        """Return the table's rows that fulfil every `column=value`; a typed empty frame if there is no table yet.

        A list or tuple as value stands for any of its values. The version ABSENT stands for no table.
        """
        schema = TABLES[table].schema
        if version == ABSENT or not self.exists(table):
            # From Arrow, as nothing that the planner sees through; a list would become an RDD with Python workers.
            return self.spark.createDataFrame(to_arrow_schema(schema).empty_table(), schema)
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        rows = reader.load(self.uri(table))
        small.check_columns(TABLES[table], rows.columns)
        return fulfilling(rows.select(*TABLES[table].column_names), equals)

    def look(self, table: str, columns: Sequence[str] = (), **equals: Any) -> list[dict[str, Any]]:
        """Return the rows that fulfil every `column=value` as dictionaries; for few rows.

        Times have the zone UTC. All columns are given unless some are named; a table never written has no rows.
        """
        spec = TABLES[table]
        if not self.exists(table):
            return []
        return small.as_rows(self._small.arrow(spec, columns or spec.column_names, equals), spec)

    def arrow(self, table: str, columns: Sequence[str], **equals: Any) -> pa.Table:
        """Return columns of the rows that fulfil every `column=value` as an Arrow table, in the memory of this process.

        For what doesn't grow with users or plays, such as one run's factors of tracks.
        """
        spec = TABLES[table]
        if not self.exists(table):
            return small.no_rows(spec, columns)
        return self._small.arrow(spec, columns, equals)

    def count(self, table: str, **equals: Any) -> int:
        """Return the number of rows that fulfil every `column=value`."""
        return self._small.count(TABLES[table], equals) if self.exists(table) else 0

    def has_values(self, table: str, columns: Sequence[str]) -> bool:
        """Tell if any row has a value in any of the columns; an empty array is none."""
        return self.exists(table) and self._small.has_values(TABLES[table], columns)

    def replace(self, table: str, rows: DataFrame | Sequence[Row], fence: Fence = no_fence, **equals: Any) -> int:
        """Put `rows` in the place of all rows that fulfil every `column=value`, in one commit.

        Without conditions the whole table is replaced. Every new row must fulfil the conditions; Delta checks it. A
        list or tuple as value stands for any of its values. Rows that the driver holds may be given as a sequence.
        `fence` raises if the run may not write any more; it is asked right before the commit.

        Returns:
            The new Delta version.

        Raises:
            DataCheckError: columns or types differ from the table's.
        """
        spec = TABLES[table]
        self.create(table)
        if isinstance(rows, DataFrame):
            self._replace_frame(spec, conform(rows, spec), equals, fence)
        else:
            self._small.replace(spec, arrow_table(rows, to_arrow_schema(spec.schema)), equals, fence)
        return self._written(table)

    def _replace_frame(self, spec: Table, rows: DataFrame, equals: Mapping[str, Any], fence: Fence) -> None:
        few = small.collected(rows) if self._collects and not spec.read_as_files else None
        if few is None:
            small.overwrite(rows, self.uri(spec.name), equals, fence)
        else:
            self._small.replace(spec, few, equals, fence)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Write frames of few rows without Spark while the body runs, if the lake allows it.

        Spark takes five or six queries of its own for each such write.
        """
        self._collects = small.works_without_spark(self.root, to_write=True)
        try:
            yield
        finally:
            self._collects = False

    def merge(self, table: str, rows: DataFrame, fence: Fence = no_fence) -> int:
        """Update the rows whose key is there already and insert the others, in one commit; `fence` as in `replace`.

        Two rows of one key in `rows` are an error of Delta's own. Returns the new Delta version.
        """
        spec = TABLES[table]
        self.create(table)
        condition = " AND ".join(f"old.`{column}` = new.`{column}`" for column in spec.key)
        merge = (
            self._delta(table)
            .alias("old")
            .merge(conform(rows, spec).alias("new"), condition)
            .whenMatchedUpdateAll()
            .whenNotMatchedInsertAll()
        )
        commit(merge.execute, fence)
        return self._written(table)

    def delete(self, table: str, keys: DataFrame, fence: Fence = no_fence) -> int:
        """Remove the rows whose key stands in `keys`, in one commit; `fence` as in `replace`.

        Returns the new Delta version.
        """
        condition = " AND ".join(f"old.`{column}` = gone.`{column}`" for column in TABLES[table].key)
        deletion = (
            self._delta(table)
            .alias("old")
            .merge(keys.select(*TABLES[table].key).distinct().alias("gone"), condition)
            .whenMatchedDelete()
        )
        commit(deletion.execute, fence)
        return self._written(table)

    def create(self, table: str) -> None:
        """Create the table with its comments and constraints, if it isn't there."""
        if not self.exists(table):
            self._small.create(TABLES[table])

    def _delta(self, table: str) -> Any:
        # Tasks import this module, and an executor's environment has no package of Delta.
        from delta.tables import DeltaTable

        return DeltaTable.forPath(self.spark, self.uri(table))

    def _written(self, table: str) -> int:
        version = self.version(table)
        if version is None:
            raise DataCheckError(f"{table}: vanished from {self.uri(table)} while it was written")
        return version


def _committer(commit: list[bytes]) -> tuple[str, str] | None:
    """Return job and run_id of who made a commit, from its lines; None if no job did."""
    for line in commit:
        if b'"commitInfo"' in line[:40]:
            said = _COMMITTER.fullmatch(str(json.loads(line)["commitInfo"].get("userMetadata")))
            if said:
                return said[1], said[2]
    return None


@contextmanager
def open_lake(settings: Settings, to_write: bool = False) -> Iterator[Lake]:
    """Open the lake of `lake.root` for a command; with Spark only if a look, or a write, can't be had without it.

    Raises:
        InputMissingError: there is no lake.
    """
    root = storage.to_uri(settings.lake.root)
    require_lake(root)
    if small.works_without_spark(root, to_write):
        yield Lake(root)
        return
    from etude.session import spark_session

    with spark_session("etude", settings.spark, settings.lake) as spark:
        yield Lake(root, spark)


def require_lake(root: str) -> None:
    """Check that some table lies below the root.

    Raises:
        InputMissingError: none does.
    """
    if not any(storage.exists(folders.log(root, table)) for table in ("runs", *TABLES)):
        shown = storage.shown(root)
        raise InputMissingError(f"no lake at {shown} (name one with --lake, or lake.root in a --config file)")
