"""A few rows that the driver holds, written past Spark: hundredths of a second, where a Spark commit takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etude.lake.conflicts import retry_conflicts


def serves(root: str) -> bool:
    """Whether this module may write below `root`, a URI: where the lake is local.

    Only there is it certain that the library's commits and Spark's exclude each other: both make a new file of the log,
    which succeeds for one of them. What a store such as S3 promises depends on settings that the two don't share.
    """
    return root.startswith("file:")


@retry_conflicts
def replace_rows(uri: str, rows: Sequence[Mapping[str, Any]], equals: Mapping[str, str]) -> None:
    """Put `rows` in the place of all rows where every `column = value` of `equals` holds, in one commit.

    The table exists; its CHECK constraints hold here as they do in Spark. Without conditions all rows are replaced.

    Raises:
        deltalake.exceptions.DeltaError: a row breaks a constraint, or doesn't fulfil the conditions.
    """
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    schema = pa.schema(DeltaTable(uri).schema().to_arrow())
    pairs = [{name: list(v.items()) if isinstance(v, Mapping) else v for name, v in row.items()} for row in rows]
    predicate = " AND ".join(f"{column} = {_quoted(value)}" for column, value in equals.items())
    data = pa.Table.from_pylist(pairs, schema=schema)
    write_deltalake(uri, data, mode="overwrite", predicate=predicate or None)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
