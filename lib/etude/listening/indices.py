"""Dense indices: 0, 1, 2, ... given once to every id, continued by new ids, and the same on every run."""

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
    """Indices for ids that have none yet, in the order of the ids, after the largest known one.

    The ids are partitioned by range and sorted within partitions; an id's index is its place in its partition plus
    the number of ids in the partitions before it. So no single task sees them all, and the driver sees one count a
    partition.

    Args:
        ids: id_column (string), repeats allowed.
        known: id_column, index_column (int) of earlier runs.
        id_column: name of the id.
        index_column: name of the index.
        staging: keeps the sorted ids, since counting and numbering must see the same partitions.

    Returns:
        id_column, index_column of the new ids.

    Raises:
        DataCheckError: more ids than 32-bit indices.
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
    counts = placed.groupBy("part").count().collect()  # one row a partition
    first = known.agg(F.coalesce(F.max(index_column) + 1, F.lit(0))).first() if counts else None
    start = 0 if first is None else int(first[0])
    starts = []
    for part, count in sorted((row["part"], row["count"]) for row in counts):
        starts.append((part, start))
        start += count
    if start > _MOST:
        raise DataCheckError(f"{index_column}: {start} ids, but an index has 32 bits")
    offsets = small_frame(ids.sparkSession, starts, "part int, offset bigint")
    index = (F.col("offset") + F.col("place")).cast("int")
    return placed.join(F.broadcast(offsets), "part", "inner").select(id_column, index.alias(index_column))
