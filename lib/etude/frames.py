"""Small frames from values that the driver holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema


def small_frame(spark: SparkSession, rows: Iterable[Sequence[Any]], schema: str | T.StructType) -> DataFrame:
    """A frame of a few rows, handed to the JVM as Arrow.

    From a list of tuples PySpark would make an RDD of pickled rows, and start Python workers where the frame is used.

    Args:
        spark: the session.
        rows: values in the order of the columns; times without a zone are local, as `collect` gives them.
        schema: the columns, or their DDL.
    """
    struct = cast(T.StructType, T.StructType.fromDDL(schema)) if isinstance(schema, str) else schema
    names = struct.names
    values = [dict(zip(names, map(_for_arrow, row), strict=True)) for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(values, schema=to_arrow_schema(struct)), schema=struct)


def _for_arrow(value: Any) -> Any:
    """The value as Arrow takes it: times with a zone, maps as pairs."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.astimezone()
    return list(value.items()) if isinstance(value, Mapping) else value
