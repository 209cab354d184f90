"""Keep intermediate results on storage: computed once, read often.

Parquet files instead of cached blocks: what is read again is columns, not rows; a lost executor costs nothing; nothing
has to fit into memory; and the plans of what follows start at a file and stay small, where a cached frame would drag
its whole history through every analysis (the k-core's rounds would double it each time).
"""

from __future__ import annotations

import secrets
from types import TracebackType

from pyspark.sql import DataFrame, SparkSession

from etude import storage


class Staging:
    """Hold a folder of intermediate results, which the end of the `with` block removes."""

    def __init__(self, spark: SparkSession, uri: str):
        """Keep the results beside `uri`, in a folder that executors can write.

        Its name is that of `uri` and a random part. If `uri` follows from job and run, the attempt after one that was
        killed finds that one's folder and removes it. One that only stalled, and wakes, removes its own.
        """
        self.spark = spark
        self._parent, _, self._name = uri.rpartition("/")
        self.uri = f"{uri}.{secrets.token_hex(4)}"
        self._kept = 0

    def __enter__(self) -> Staging:
        """Remove what earlier blocks of the same `uri` left. The first result creates the folder."""
        for folder in storage.list_folders(self._parent):
            if folder.rpartition(".")[0] == self._name:
                storage.delete(storage.join(self._parent, folder))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove everything."""
        storage.delete(self.uri)

    def keep(self, rows: DataFrame) -> DataFrame:
        """Compute `rows`, write them, and return a frame that reads them."""
        path = storage.for_spark(storage.join(self.uri, str(self._kept)))
        self._kept += 1
        # The folder is private: nobody sees half of it. So tasks put their files in place themselves. By version 1 the
        # driver renames each afterwards, one by one, which on an object store copies all of it.
        rows.write.option("mapreduce.fileoutputcommitter.algorithm.version", "2").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)
