"""Describe a Delta table: its columns, key, partitions, constraints, lifetime, and whose data it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from pyspark.sql import types as T

# Petastorm and pyarrow read the tables as raw Parquet: no deletion vectors may hide rows from them.
PROPERTIES = {"delta.enableDeletionVectors": "false"}

LIFETIMES = {
    "lake": "as long as the lake",
    "run": "as long as its run; may be pruned with it",
    "derived": "until it is computed again from other tables or files",
}
"""How long a table's rows live -> the same in words."""

SUBJECTS = {"user_id": "users, by user_id", "user_idx": "users, by user_idx", None: "nobody"}
"""Whose data a table holds -> the same in words."""


@dataclass(frozen=True)
class Column:
    """Describe one column: its Spark SQL type as DDL text, its content with its unit, and if it may be null."""

    name: str
    type: str
    comment: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """Describe one Delta table: the key that makes a row unique, columns, partitions and CHECK constraints."""

    name: str
    comment: str
    lifetime: Literal["lake", "run", "derived"]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    constraints: dict[str, str] = field(default_factory=dict)
    statistics: tuple[str, ...] = ()
    """Columns of which each file notes least and greatest value, so that a search can skip it; none named: Delta's
    choice. Those of texts in random order cost a third of a write and skip nothing."""
    read_as_files: bool = False
    """Its files are read as such, without Delta: each executor writes those of the rows that it made."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in table order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def schema(self) -> T.StructType:
        """The table's Spark schema, comments and nullability included."""
        return T.StructType(
            [T.StructField(c.name, spark_type(c.type), c.nullable, {"comment": c.comment}) for c in self.columns]
        )

    @property
    def properties(self) -> dict[str, str]:
        """The Delta properties that it is created with, CHECK constraints included."""
        return self.plain_properties | {f"delta.constraints.{name}": check for name, check in self.constraints.items()}

    @property
    def plain_properties(self) -> dict[str, str]:
        """The same without CHECK constraints."""
        noted = {"delta.dataSkippingStatsColumns": ",".join(self.statistics)} if self.statistics else {}
        return PROPERTIES | noted

    @property
    def subject(self) -> Literal["user_id", "user_idx"] | None:
        """The column that says whose data a row holds; None if no row belongs to a user."""
        if "user_id" in self.column_names:
            return "user_id"
        return "user_idx" if "user_idx" in self.column_names else None

    @property
    def has_runs(self) -> bool:
        """Whether each row belongs to one run."""
        return self.key[0] == "run_id"


_ATOMS: dict[str, T.DataType] = {
    "string": T.StringType(),
    "int": T.IntegerType(),
    "bigint": T.LongType(),
    "float": T.FloatType(),
    "double": T.DoubleType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
}


def spark_type(ddl: str) -> T.DataType:
    """Return the Spark type of a column's DDL text; unlike PySpark's parser it needs no JVM.

    >>> spark_type("map<string,array<int>>").simpleString()
    'map<string,array<int>>'
    """
    if ddl.startswith("array<"):
        return T.ArrayType(spark_type(ddl[len("array<") : -1]))
    if ddl.startswith("map<"):
        key, _, value = ddl[len("map<") : -1].partition(",")
        return T.MapType(spark_type(key), spark_type(value))
    return _ATOMS[ddl]
