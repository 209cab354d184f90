"""Assign dense indices 0, 1, 2, ...: every id gets one, new ids continue the sequence, and reruns give the same."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.lake.staging import Staging

_MOST = 2**31
_ROW_BITS = 33  # Spark's monotonically_increasing_id: partition number above, row number below


def continue_indices(
    ids: DataFrame, known: DataFrame, id_column: str, index_column: str, staging: Staging
) -> DataFrame:
    """Assign indices to ids that have none, in the order of the ids, after the largest known index.

    The ids are partitioned by range and sorted within partitions. An id's index is its position in its partition plus
    the number of ids in the partitions before it. So no single task sees all ids, and the driver sees one count per
    partition.

    Args:
        ids: id_column (string), repeats allowed.
        known: id_column, index_column (int) of earlier runs.
        id_column: name of the id.
        index_column: name of the index.
        staging: keeps the sorted ids, because counting and numbering must see the same partitions.

    Returns:
        id_column, index_column (int) of the new ids.

    Raises:
        DataCheckError: there are more ids than non-negative 32-bit integers (2^31).
    """
    new = ids.select(id_column).distinct().join(known.select(id_column), id_column, "left_anti")
    ordered = new.repartitionByRange(id_column).sortWithinPartitions(id_column)
    serial = F.monotonically_increasing_id()
    placed = ordered.select(
        id_column,
        F.shiftright(serial, _ROW_BITS).cast("int").alias("part"),
        serial.bitwiseAND((1 << _ROW_BITS) - 1).alias("place"),
    )
    placed = staging.keep(placed)
    counts = placed.groupBy("part").count().collect()  # one row per partition
    first = known.agg(F.coalesce(F.max(index_column) + 1, F.lit(0))).first() if counts else None
    start = 0 if first is None else int(first[0])
    starts = []
    for part, count in sorted((row["part"], row["count"]) for row in counts):
        starts.append((part, start))
        start += count
    if start > _MOST:
        raise DataCheckError(f"{index_column}: {start} ids found; expected at most {_MOST}, the 32-bit limit")
    offsets = small_frame(ids.sparkSession, starts, "part int, offset bigint")
    index = (F.col("offset") + F.col("place")).cast("int")
    return placed.join(F.broadcast(offsets), "part", "inner").select(id_column, index.alias(index_column))
