"""Express the condition that every `column=value` holds, for Spark, its SQL, pyarrow and deltalake.

A list or tuple as value stands for any of its values; an empty one can only be read by, and no row fulfils it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

Equals = Mapping[str, Any]


def fulfilling(rows: DataFrame, equals: Equals) -> DataFrame:
    """Return the rows that fulfil every `column=value`."""
    for column, value in equals.items():
        rows = rows.where(F.col(column).isin(*(value if isinstance(value, list | tuple) else [value])))
    return rows


def arrow_filter(equals: Equals) -> Any:
    """Return the condition that every `column=value` holds, for pyarrow; None if there is none."""
    import pyarrow.dataset as ds

    if any(isinstance(value, list | tuple) and not value for value in equals.values()):
        return ds.scalar(False)  # an empty list has no type to compare
    tests = [
        ds.field(column).isin(value) if isinstance(value, list | tuple) else ds.field(column) == value
        for column, value in equals.items()
    ]
    return reduce(operator.and_, tests) if tests else None


def spark_predicate(equals: Equals) -> str:
    r"""Return the condition that every `column=value` holds, as Spark SQL.

    >>> spark_predicate({"job": "it's", "k": [1, 2]})
    "`job` = 'it\\'s' AND (`k` = 1 OR `k` = 2)"
    """
    return " AND ".join(_equals(column, value) for column, value in equals.items())


def _equals(column: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + " OR ".join(_equals(column, each) for each in value) + ")"
    if isinstance(value, bool | int | float):
        return f"`{column}` = {value}"
    return f"`{column}` = {quoted(value)}"


def quoted(text: object) -> str:
    """Return a text as a literal of Spark SQL."""
    escaped = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def deltalake_predicate(equals: Equals) -> str:
    """Return the condition that every `column=value` holds, as deltalake's SQL; it doubles quotes.

    >>> deltalake_predicate({"job": "it's", "k": [1, 2]})
    "job IN ('it''s') AND k IN (1, 2)"
    """
    tests = {name: value if isinstance(value, list | tuple) else [value] for name, value in equals.items()}
    return " AND ".join(f"{name} IN ({', '.join(map(_literal, values))})" for name, values in tests.items())


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
