"""Small looks into the lake without Spark: a second instead of ten, for what people type and for the run ledger.

The `deltalake` library finds the files of a table's newest version and pyarrow reads them. Where it
can't open the lake's file system (hdfs:), the same looks go through Spark.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

from etude import storage
from etude.config import Settings
from etude.errors import InputMissingError
from etude.lake import small
from etude.lake.lake import Lake
from etude.lake.tables import TABLES

Equals = dict[str, Any]
Rows = list[dict[str, Any]]

_WITHOUT_SPARK = ("file", "s3", "s3a")


class Glance:
    """Rows of the lake's tables as dictionaries; for few rows."""

    def rows(self, table: str, columns: Sequence[str] = (), **equals: Any) -> Rows:
        """The rows where every `column=value` holds (a list or tuple: one of these); all columns unless named.

        A table that was never written has none.
        """
        raise NotImplementedError

    def count(self, table: str, **equals: Any) -> int:
        """Number of the rows where every `column=value` holds."""
        raise NotImplementedError

    def version(self, table: str) -> int | None:
        """Newest Delta version, or None where there is no table."""
        raise NotImplementedError


@contextmanager
def open_lake(settings: Settings) -> Iterator[Glance]:
    """A look into the lake of `lake.root`, with Spark only where it can't be had otherwise.

    Raises:
        InputMissingError: there is no lake.
    """
    root = storage.to_uri(settings.lake.root)
    require_lake(root)
    if root.partition(":")[0] in _WITHOUT_SPARK:
        yield ArrowGlance(root)
        return
    from etude.session import spark_session

    with spark_session("etude", settings.spark, settings.lake) as spark:
        yield SparkGlance(spark, root)


def glance_of(lake: Lake) -> Glance:
    """A look into a lake beside the session that is there; without Spark where the lake is local."""
    return ArrowGlance(lake.root) if small.serves(lake.root) else SparkGlance(lake.spark, lake.root)


def require_lake(root: str) -> None:
    """See that some table lies below the root.

    Raises:
        InputMissingError: none does.
    """
    for table in ("runs", *TABLES):
        if storage.exists(f"{root}/{table}/_delta_log"):
            return
    raise InputMissingError(f"no lake at {storage.shown(root)} (name one with --lake, or lake.root in a --config file)")


class ArrowGlance(Glance):
    """By deltalake and pyarrow."""

    def __init__(self, root: str):
        """`root` is a URI without a trailing slash."""
        self.root = root

    def rows(self, table: str, columns: Sequence[str] = (), **equals: Any) -> Rows:
        """See Glance."""
        data = self._data(table)
        if data is None:
            return []
        spec = TABLES[table]
        rows = data.to_table(columns=list(columns or spec.column_names), filter=_test(equals)).to_pylist()
        maps = [column.name for column in spec.columns if column.type.startswith("map<")]
        return [_with_dicts(row, maps) for row in rows] if maps else rows

    def version(self, table: str) -> int | None:
        """See Glance."""
        found = self._table(table)
        return None if found is None else int(found.version())

    def count(self, table: str, **equals: Any) -> int:
        """See Glance."""
        data = self._data(table)
        return 0 if data is None else int(data.count_rows(filter=_test(equals)))

    def _data(self, table: str) -> Any:
        """The files of the newest version as a pyarrow data set; None where there are none."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        found = self._table(table)
        if found is None or not (uris := found.file_uris()):
            return None
        # The library writes the table's own path with escapes, and without a scheme where it is local; what follows
        # it is as the store has it.
        system, folder = storage.filesystem(f"{self.root}/{table}")
        below = len(found.table_uri.rstrip("/").removeprefix("file://"))
        paths = [folder + uri.removeprefix("file://")[below:] for uri in uris]
        # With their types: a run_id such as 2026 would otherwise be read as a number.
        kinds = {"string": pa.string(), "date": pa.date32(), "int": pa.int32()}
        spec = TABLES[table]
        parts = [(c.name, kinds[c.type]) for c in spec.columns if c.name in spec.partition_by]
        partitioning = ds.partitioning(pa.schema(parts), flavor="hive") if parts else None
        return ds.dataset(paths, format="parquet", filesystem=system, partitioning=partitioning)

    def _table(self, table: str) -> Any:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(f"{self.root}/{table}")
        except TableNotFoundError:
            return None


class SparkGlance(Glance):
    """By Spark."""

    def __init__(self, spark: Any, root: str):
        """`root` is a URI."""
        self.lake = Lake(spark, root)

    def rows(self, table: str, columns: Sequence[str] = (), **equals: Any) -> Rows:
        """See Glance."""
        frame = self.lake.read(table, **equals)
        return [row.asDict() for row in frame.select(*(columns or TABLES[table].column_names)).collect()]

    def count(self, table: str, **equals: Any) -> int:
        """See Glance."""
        return self.lake.read(table, **equals).count()

    def version(self, table: str) -> int | None:
        """See Glance."""
        return self.lake.version(table)


def _test(equals: Equals) -> Any:
    """The condition that every `column=value` holds, for pyarrow; None where there is none."""
    import pyarrow.dataset as ds

    tests = [
        ds.field(column).isin(value) if isinstance(value, list | tuple) else ds.field(column) == value
        for column, value in equals.items()
    ]
    return reduce(operator.and_, tests) if tests else None


def _with_dicts(row: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Arrow gives a map as a list of pairs."""
    return {key: dict(value) if key in names and value is not None else value for key, value in row.items()}
