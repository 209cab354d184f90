"""Reading and writing the lake's tables: typed reads, and writes that are atomic and can be repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from etude import storage
from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.lake import small
from etude.lake.conflicts import retry_conflicts
from etude.lake.tables import TABLES, Table
from etude.storage import to_uri

_COMMIT = re.compile(r"/(\d{20})\.json$")


class Lake:
    """The tables under one root."""

    def __init__(self, spark: SparkSession, root: str):
        """`root` is a URI or a local path."""
        self.spark = spark
        self.root = to_uri(root)

    def uri(self, table: str) -> str:
        """Where a table lies, as Spark wants to be told it."""
        return storage.for_spark(f"{self.root}/{TABLES[table].name}")

    def exists(self, table: str) -> bool:
        """Whether the table has been created."""
        return self.version(table) is not None

    def version(self, table: str) -> int | None:
        """Newest Delta version, or None where there is no table.

        Read off the log's file names (`<version>.json`, 20 digits, by the Delta protocol): DESCRIBE HISTORY would
        start a Spark job for it, several times a run.
        """
        commits = storage.list_files(f"{self.root}/{TABLES[table].name}/_delta_log")
        versions = [int(found[1]) for found in map(_COMMIT.search, commits) if found]
        return max(versions, default=None)

    def read(self, table: str, version: int | None = None, **equals: Any) -> DataFrame:
        """The table's rows where every `column=value` holds; a typed empty frame where there is no table yet.

        A list or tuple as value stands for any of its values.
        """
        schema = TABLES[table].schema
        if not self.exists(table):
            # From Arrow, as nothing that the planner sees through; a list would become an RDD with Python workers.
            return self.spark.createDataFrame(to_arrow_schema(schema).empty_table(), schema)
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        rows = reader.load(self.uri(table)).select(*TABLES[table].column_names)
        for column, value in equals.items():
            values = value if isinstance(value, list | tuple) else [value]
            rows = rows.where(F.col(column).isin(*values))
        return rows

    def replace(self, table: str, rows: DataFrame, **equals: Any) -> int:
        """Put `rows` in the place of all rows where every `column=value` holds, in one commit.

        Without conditions the whole table is replaced. Every new row must fulfil the conditions (Delta checks it).
        A list or tuple as value stands for any of its values.

        Returns:
            The new Delta version.

        Raises:
            DataCheckError: columns or types differ from the table's.
        """
        spec = TABLES[table]
        self.create(table)
        writer = conform(rows, spec).write.format("delta").mode("overwrite")
        if equals:
            writer = writer.option("replaceWhere", " AND ".join(_equals(c, v) for c, v in equals.items()))
        retry_conflicts(writer.save)(self.uri(table))
        return self._written(table)

    def put(self, table: str, rows: Sequence[Mapping[str, Any]], **equals: str) -> int:
        """`replace` for a few rows (column -> value) that the driver holds; past Spark where the lake is local.

        Returns the new Delta version.
        """
        self.create(table)
        if small.serves(self.root):
            small.replace_rows(f"{self.root}/{TABLES[table].name}", rows, equals)
            return self._written(table)
        columns = TABLES[table].column_names
        values = [[row[column] for column in columns] for row in rows]
        return self.replace(table, small_frame(self.spark, values, TABLES[table].schema), **equals)

    def merge(self, table: str, rows: DataFrame) -> int:
        """Update the rows whose key is there already and insert the others, in one commit.

        Two rows of one key in `rows` are an error of Delta's own. Returns the new Delta version.
        """
        spec = TABLES[table]
        self.create(table)
        condition = " AND ".join(f"old.`{column}` = new.`{column}`" for column in spec.key)
        merge = (
            DeltaTable.forPath(self.spark, self.uri(table))
            .alias("old")
            .merge(conform(rows, spec).alias("new"), condition)
            .whenMatchedUpdateAll()
            .whenNotMatchedInsertAll()
        )
        retry_conflicts(merge.execute)()
        return self._written(table)

    def delete(self, table: str, keys: DataFrame) -> int:
        """Remove the rows whose key stands in `keys`, in one commit. Returns the new Delta version."""
        condition = " AND ".join(f"old.`{column}` = gone.`{column}`" for column in TABLES[table].key)
        deletion = (
            DeltaTable.forPath(self.spark, self.uri(table))
            .alias("old")
            .merge(keys.select(*TABLES[table].key).distinct().alias("gone"), condition)
            .whenMatchedDelete()
        )
        retry_conflicts(deletion.execute)()
        return self._written(table)

    def create(self, table: str) -> None:
        """Create the table with its comments and constraints, if it isn't there."""
        if self.exists(table):
            return
        spec = TABLES[table]
        if small.serves(self.root):
            small.create_table(f"{self.root}/{spec.name}", spec)
        else:
            retry_conflicts(self.spark.sql)(_create_statement(spec, self.uri(table)))

    def _written(self, table: str) -> int:
        version = self.version(table)
        if version is None:
            raise DataCheckError(f"{table}: vanished from {self.uri(table)} while it was written")
        return version


def conform(rows: DataFrame, spec: Table) -> DataFrame:
    """`rows` with the table's columns in the table's order and types.

    Raises:
        DataCheckError: a column is missing, superfluous, or of a type that would lose values.
    """
    found = {field.name: field.dataType for field in rows.schema.fields}
    wanted = {field.name: field.dataType for field in spec.schema.fields}
    if set(found) != set(wanted):
        missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        raise DataCheckError(f"{spec.name}: missing columns {missing}, superfluous columns {extra}")
    for name, kind in wanted.items():
        if not _fits(found[name], kind):
            raise DataCheckError(f"{spec.name}.{name}: {found[name].simpleString()} doesn't fit {kind.simpleString()}")
    return rows.select(*(F.col(name).cast(kind).alias(name) for name, kind in wanted.items()))


_WIDENING: dict[type[T.DataType], tuple[type[T.DataType], ...]] = {
    T.LongType: (T.IntegerType, T.ShortType, T.ByteType),
    T.IntegerType: (T.ShortType, T.ByteType),
    T.DoubleType: (T.FloatType, T.IntegerType),
}


def _fits(found: T.DataType, wanted: T.DataType) -> bool:
    if isinstance(found, T.ArrayType) and isinstance(wanted, T.ArrayType):
        return _fits(found.elementType, wanted.elementType)
    if isinstance(found, T.MapType) and isinstance(wanted, T.MapType):
        return _fits(found.keyType, wanted.keyType) and _fits(found.valueType, wanted.valueType)
    if isinstance(found, T.NullType):
        return True
    return type(found) is type(wanted) or isinstance(found, _WIDENING.get(type(wanted), ()))


def _create_statement(spec: Table, uri: str) -> str:
    columns = ", ".join(
        f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'} COMMENT {quoted(c.comment)}" for c in spec.columns
    )
    partitions = f" PARTITIONED BY ({', '.join(spec.partition_by)})" if spec.partition_by else ""
    properties = ", ".join(f"'{name}' = {quoted(value)}" for name, value in spec.properties.items())
    return (
        f"CREATE TABLE IF NOT EXISTS delta.`{uri}` ({columns}) USING DELTA{partitions} COMMENT {quoted(spec.comment)}"
        f" TBLPROPERTIES ({properties})"
    )


def quoted(text: object) -> str:
    """The text as a literal of Spark SQL."""
    escaped = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _equals(column: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + " OR ".join(_equals(column, each) for each in value) + ")"
    if isinstance(value, bool | int | float):
        return f"`{column}` = {value}"
    return f"`{column}` = {quoted(value)}"
