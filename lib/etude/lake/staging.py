"""Keep intermediate results on storage: computed once, read often.

Parquet files instead of cached blocks: what is read again is columns, not rows; a lost executor costs nothing; nothing
has to fit into memory; and the plans of what follows start at a file and stay small, where a cached frame would drag
its whole history through every analysis (the k-core's rounds would double it each time).
"""

from __future__ import annotations

from types import TracebackType

from pyspark.sql import DataFrame, SparkSession

from etude import storage


class Staging:
    """Hold a folder of intermediate results, which the end of the `with` block removes."""

    def __init__(self, spark: SparkSession, uri: str):
        """Keep the results in the folder `uri`, which executors can write.

        If its name follows from job and run, the run after one that was killed finds the folder again and empties it.
        """
        self.spark = spark
        self.uri = uri
        self._kept = 0

    def __enter__(self) -> Staging:
        """Remove what an earlier block left in the folder. The first result creates it."""
        storage.delete(self.uri)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove everything."""
        storage.delete(self.uri)

    def keep(self, rows: DataFrame) -> DataFrame:
        """Compute `rows`, write them, and return a frame that reads them."""
        path = storage.for_spark(storage.join(self.uri, str(self._kept)))
        self._kept += 1
        rows.write.parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)
