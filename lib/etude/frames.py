"""Build small frames from values in the driver's memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema


def small_frame(spark: SparkSession, rows: Iterable[Sequence[Any]], schema: str | T.StructType) -> DataFrame:
    """Build a frame of a few rows, passed to the JVM as Arrow.

    From a list of tuples PySpark would make an RDD of pickled rows, and start Python workers when the frame is used.

    Args:
        spark: the session.
        rows: values in the order of the columns; times without a zone are local, as `collect` gives them.
        schema: the columns, or their DDL.
    """
    struct = cast(T.StructType, T.StructType.fromDDL(schema)) if isinstance(schema, str) else schema
    names = struct.names
    values = (dict(zip(names, row, strict=True)) for row in rows)
    return spark.createDataFrame(arrow_table(values, to_arrow_schema(struct)), schema=struct)


def arrow_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Build an Arrow table of a few rows (column -> value); times without a zone are local."""
    values = [{name: _for_arrow(value) for name, value in row.items()} for row in rows]
    return pa.Table.from_pylist(values, schema=schema)


def _for_arrow(value: Any) -> Any:
    """Convert a value for Arrow: times get a zone, maps become pairs."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.astimezone()
    return list(value.items()) if isinstance(value, Mapping) else value
