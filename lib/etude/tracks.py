"""Tell tracks from aliases: ids in the table `tracks` that stand for another track."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def without_aliases(tracks: DataFrame) -> DataFrame:
    """Return the rows of `tracks` that are tracks of their own."""
    return tracks.where(F.col("alias_of").isNull())


def indices(tracks: DataFrame) -> DataFrame:
    """Return track_id and track_idx of all ids; an alias has the index of its track.

    Args:
        tracks: track_id, track_idx, alias_of.
    """
    own = without_aliases(tracks).select(F.col("track_id").alias("alias_of"), F.col("track_idx").alias("of_idx"))
    joined = tracks.select("track_id", "track_idx", "alias_of").join(own, "alias_of", "left")
    return joined.select("track_id", F.coalesce("of_idx", "track_idx").alias("track_idx"))
