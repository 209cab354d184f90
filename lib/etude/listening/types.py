"""Tell the types of columns in Parquet and JSON files, and which of them a role can have."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql.pandas.types import from_arrow_type

_UNSIGNED = {"uint8": "smallint", "uint16": "int", "uint32": "bigint", "uint64": "decimal(20,0)"}
_NOT_IN_SPARK = {"UUID", "INTERVAL", "TIME", "FLOAT16", "UNKNOWN", "NULL"}
"""Parquet's logical types that Spark's reader refuses."""

_ID = r"string|binary|tinyint|smallint|int|bigint|decimal"
_NUMBER = rf"{_ID}|float|double"
_ALLOWED = {
    "user": (_ID, "a string or an integer"),
    "track": (_ID, "a string or an integer"),
    "event": (_ID, "a string or an integer"),
    "played_at": (rf"{_NUMBER}|timestamp|timestamp_ntz|date", "a timestamp, a date, a string or a number"),
}
_OTHER_ROLES = (rf"{_NUMBER}|array", "a string, a number or an array")
_TIMES = ("timestamp", "timestamp_ntz", "date")


def parquet_types(file: pq.ParquetFile) -> tuple[str, ...]:
    """Return the type of each column: Spark's name, `binary(16)` for bytes of a fixed number, otherwise Parquet's name.

    Times in nanoseconds are bigint, as Spark reads them in `reading_files`.
    """
    schema = file.schema.to_arrow_schema()
    leaves = [file.schema.column(n) for n in range(len(file.schema.names))]
    by_path = {leaf.path: leaf for leaf in leaves}
    return tuple(_spark_type(field.type, by_path.get(field.name)) for field in schema)


def _spark_type(kind: pa.DataType, leaf: pq.ColumnSchema | None) -> str:
    if leaf is not None:
        for name in (leaf.converted_type, leaf.logical_type.type):
            if name in _NOT_IN_SPARK:
                return f"Parquet's {name}"
        if leaf.physical_type == "INT96":
            return "timestamp"
    if pa.types.is_fixed_size_binary(kind):
        return f"binary({kind.byte_width})"
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return "bigint"
    if str(kind) in _UNSIGNED:
        return _UNSIGNED[str(kind)]
    try:
        return from_arrow_type(kind, prefer_timestamp_ntz=True).simpleString()
    except TypeError:
        return f"Parquet's {kind}"


def json_type(values: Iterable[object]) -> str:
    """Return the type of a key's values in JSON: the one that says most against an id, string if there are none."""
    names = {_json_name(value) for value in values}
    return next((name for name in ("struct", "array", "double", "boolean", "bigint") if name in names), "string")


def _json_name(value: object) -> str:
    for kind, name in ((bool, "boolean"), (int, "bigint"), (float, "double"), (list, "array"), (dict, "struct")):
        if isinstance(value, kind):
            return name
    return "string"


def is_time(kind: str) -> bool:
    """Return whether a column of this type holds times."""
    return kind in _TIMES


def fault_of(role: str, kind: str) -> str | None:
    """Return what is wrong with a column's type for a role, or None.

    >>> fault_of("user", "double")
    'is double; user needs a string or an integer'
    """
    allowed, wanted = _ALLOWED.get(role, _OTHER_ROLES)
    if re.fullmatch(rf"({allowed})([(<].*)?", kind):
        return None
    return f"is {kind}; {role} needs {wanted}"
