"""Look at, write and create small things in the lake, by the library that suits its file system.

Without Spark, through deltalake and pyarrow, a look takes hundredths of a second instead of seconds. Which library
does it is decided in `library`, and nowhere else.
"""

from __future__ import annotations

import operator
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from etude import storage
from etude.errors import DataCheckError
from etude.lake import folders
from etude.lake.conditions import Equals, arrow_filter, deltalake_predicate, fulfilling, quoted, spark_predicate
from etude.lake.conflicts import commit, no_fence
from etude.lake.schema import Table

Fence = Callable[[], None]
Rows = list[dict[str, Any]]

MOST_ROWS = 200_000
"""A frame of more rows isn't collected to be written: 80 MB at 100 factors per row."""


class Library(Protocol):
    """Serve looks at few rows, writes of few rows, and new tables; see Lake for what each does."""

    def arrow(self, spec: Table, columns: Sequence[str], equals: Equals) -> pa.Table: ...  # noqa: D102
    def count(self, spec: Table, equals: Equals) -> int: ...  # noqa: D102
    def has_values(self, spec: Table, columns: Sequence[str]) -> bool: ...  # noqa: D102
    def replace(self, spec: Table, rows: pa.Table, equals: Equals, fence: Fence = ...) -> None: ...  # noqa: D102
    def create(self, spec: Table) -> None: ...  # noqa: D102


def library(root: str, spark: SparkSession | None, writer: str | None) -> Library:
    """Choose the library for a lake; `writer` goes into deltalake's commits.

    On a local lake deltalake does it all. It makes a new file of the log, or fails if Spark has it; Spark looks and
    then renames (docs/operating.md says what not to run at once). What a store such as S3 promises depends on
    settings that the two don't share, so with a session Spark does it, and without one deltalake only looks.
    """
    if root.startswith("file:") or spark is None:
        return Deltalake(root, writer)
    return BySpark(root, spark)


def works_without_spark(root: str, to_write: bool) -> bool:
    """Tell if a command may look into a lake, or write to it, without a session."""
    return root.partition(":")[0] in (("file",) if to_write else ("file", "s3", "s3a"))


class Deltalake:
    """Go through deltalake and pyarrow."""

    def __init__(self, root: str, writer: str | None = None):
        """`root` is a URI."""
        self.root, self.writer = root, writer

    def arrow(self, spec: Table, columns: Sequence[str], equals: Equals) -> pa.Table:
        """Return the rows as an Arrow table."""
        with _readable(spec):
            data = self._data(spec)
            if data is None:
                return no_rows(spec, columns)
            check_columns(spec, data.schema.names)
            return data.to_table(columns=list(columns), filter=arrow_filter(equals))

    def count(self, spec: Table, equals: Equals) -> int:
        """Return the number of rows."""
        with _readable(spec):
            data = self._data(spec)
            return 0 if data is None else int(data.count_rows(filter=arrow_filter(equals)))

    def has_values(self, spec: Table, columns: Sequence[str]) -> bool:
        """Tell if any row has a value in any of the columns."""
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        with _readable(spec):
            data = self._data(spec)
            if data is None:
                return False
            filled = (
                pc.list_value_length(ds.field(name)) > 0 if _is_array(spec, name) else ds.field(name).is_valid()
                for name in columns
            )
            return data.head(1, columns=list(columns), filter=reduce(operator.or_, filled)).num_rows > 0

    def replace(self, spec: Table, rows: pa.Table, equals: Equals, fence: Fence = no_fence) -> None:
        """Replace rows in one commit; CHECK constraints hold here as they do in Spark.

        Raises:
            DataCheckError: a row breaks a constraint, or doesn't fulfil the conditions.
        """
        commit(lambda: self._replace(spec, rows, equals), fence)

    def _replace(self, spec: Table, rows: pa.Table, equals: Equals) -> None:
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        table = self._open(spec)
        schema = pa.schema(table.schema().to_arrow())
        said = CommitProperties(custom_metadata={"userMetadata": self.writer}) if self.writer else None
        predicate = deltalake_predicate(equals) or None
        try:
            write_deltalake(table, rows.cast(schema), mode="overwrite", predicate=predicate, commit_properties=said)
        except DeltaError as error:
            if "failed validation check" not in str(error):
                raise
            # Not with the library's text or as its consequence: it shows rows, and they may hold users' ids.
            checks = ", ".join(f"{name}: {check}" for name, check in spec.constraints.items())
            raise DataCheckError(
                f"{spec.name}: nothing was written, since a row breaks a constraint ({checks}) "
                f"or has other values of {', '.join(equals) or 'no column'} than the rows to replace"
            ) from None

    def create(self, spec: Table) -> None:
        """Create the table unless it is there.

        deltalake needs two commits for a table with constraints. They are made in a folder of their own, which then
        becomes the table's in one step: nobody sees a table without its constraints, and of several creators one wins.
        """
        from deltalake import DeltaTable, Schema

        unfinished = Path(storage.filesystem(folders.unfinished(self.root, spec.name))[1])
        table = DeltaTable.create(
            str(unfinished),
            Schema.from_json(spec.schema.json()),
            partition_by=list(spec.partition_by) or None,
            description=spec.comment,
            configuration=spec.plain_properties,
        )
        if spec.constraints:
            table.alter.add_constraint(spec.constraints)
        try:
            unfinished.rename(storage.filesystem(folders.table(self.root, spec.name))[1])
        except OSError:
            shutil.rmtree(unfinished)
            if not storage.exists(folders.log(self.root, spec.name)):
                raise

    def _open(self, spec: Table) -> Any:
        from deltalake import DeltaTable

        return DeltaTable(folders.table(self.root, spec.name))

    def _data(self, spec: Table) -> Any:
        """Return the files of the newest version as a pyarrow data set; None if there are none."""
        import pyarrow.dataset as ds

        found = self._open(spec)
        if not (uris := found.file_uris()):
            return None
        # The library writes the table's own path with escapes, and without a scheme if it is local; what follows
        # it is as the store has it.
        system, folder = storage.filesystem(folders.table(self.root, spec.name))
        below = len(found.table_uri.rstrip("/").removeprefix("file://"))
        paths = [folder + uri.removeprefix("file://")[below:] for uri in uris]
        # With their types: a run_id such as 2026 would otherwise be read as a number.
        kinds = {"string": pa.string(), "date": pa.date32(), "int": pa.int32()}
        parts = [(c.name, kinds[c.type]) for c in spec.columns if c.name in spec.partition_by]
        partitioning = ds.partitioning(pa.schema(parts), flavor="hive") if parts else None
        return ds.dataset(paths, format="parquet", filesystem=system, partitioning=partitioning)


@contextmanager
def _readable(spec: Table) -> Iterator[None]:
    """Say what is the matter with files that Spark and deltalake read, and pyarrow can't.

    Raises:
        DataCheckError: deltalake's `delete` or `update` wrote some.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        if "Unrecognized type" not in str(error):
            raise
        raise DataCheckError(
            f"{spec.name}: files have column types of a newer Arrow, as deltalake's delete and update write them; "
            "write the table anew by Spark (docs/operating.md, Erasing a user), and delete rows by Spark's SQL"
        ) from error


class BySpark:
    """Go through a Spark session."""

    def __init__(self, root: str, spark: SparkSession):
        """`root` is a URI."""
        self.root, self.spark = root, spark

    def arrow(self, spec: Table, columns: Sequence[str], equals: Equals) -> pa.Table:
        """Return the rows as an Arrow table."""
        rows = self._rows(spec, equals)
        check_columns(spec, rows.columns)
        return rows.select(*columns).toArrow()

    def count(self, spec: Table, equals: Equals) -> int:
        """Return the number of rows."""
        return self._rows(spec, equals).count()

    def has_values(self, spec: Table, columns: Sequence[str]) -> bool:
        """Tell if any row has a value in any of the columns."""
        filled = (F.size(name) > 0 if _is_array(spec, name) else F.col(name).isNotNull() for name in columns)
        return not self._rows(spec, {}).where(reduce(operator.or_, filled)).isEmpty()

    def replace(self, spec: Table, rows: pa.Table, equals: Equals, fence: Fence = no_fence) -> None:
        """Replace rows in one commit."""
        overwrite(self.spark.createDataFrame(rows, spec.schema), self._uri(spec), equals, fence)

    def create(self, spec: Table) -> None:
        """Create the table unless it is there; the statement holds its constraints."""
        commit(lambda: self.spark.sql(create_statement(spec, self._uri(spec))))

    def _uri(self, spec: Table) -> str:
        return storage.for_spark(folders.table(self.root, spec.name))

    def _rows(self, spec: Table, equals: Equals) -> DataFrame:
        return fulfilling(self.spark.read.format("delta").load(self._uri(spec)), equals)


def no_rows(spec: Table, columns: Sequence[str]) -> pa.Table:
    """Return columns of a table without rows."""
    return to_arrow_schema(spec.schema).empty_table().select(list(columns))


def check_columns(spec: Table, found: Sequence[str]) -> None:
    """Check that a table of the lake has the columns of its definition.

    Raises:
        DataCheckError: it lacks some.
    """
    lacking = [name for name in spec.column_names if name not in found]
    if lacking:
        raise DataCheckError(
            f"{spec.name}: the lake's table has no column {', '.join(lacking)}; an earlier version of Etude made it, "
            "so make a new lake"
        )


def overwrite(rows: DataFrame, uri: str, equals: Equals, fence: Fence = no_fence) -> None:
    """Put `rows` in the place of all rows of a Delta table that fulfil every `column=value`, in one commit."""
    writer = rows.write.format("delta").mode("overwrite")
    if equals:
        writer = writer.option("replaceWhere", spark_predicate(equals))
    commit(lambda: writer.save(uri), fence)


def collected(rows: DataFrame) -> pa.Table | None:
    """Return a frame's rows as Arrow; None if there are more than MOST_ROWS."""
    table = rows.limit(MOST_ROWS + 1).toArrow()
    return table if table.num_rows <= MOST_ROWS else None


def as_rows(table: Any, spec: Table) -> Rows:
    """Return an Arrow table's rows as dictionaries; Arrow gives a map as a list of pairs."""
    maps = {column.name for column in spec.columns if column.type.startswith("map<")}
    return [
        {name: dict(value) if name in maps and value is not None else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def _is_array(spec: Table, name: str) -> bool:
    return any(column.name == name and column.type.startswith("array<") for column in spec.columns)


def create_statement(spec: Table, uri: str) -> str:
    """Return the SQL that creates a table."""
    columns = ", ".join(
        f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'} COMMENT {quoted(c.comment)}" for c in spec.columns
    )
    partitions = f" PARTITIONED BY ({', '.join(spec.partition_by)})" if spec.partition_by else ""
    properties = ", ".join(f"'{name}' = {quoted(value)}" for name, value in spec.properties.items())
    return (
        f"CREATE TABLE IF NOT EXISTS delta.`{uri}` ({columns}) USING DELTA{partitions} "
        f"COMMENT {quoted(spec.comment)} TBLPROPERTIES ({properties})"
    )
