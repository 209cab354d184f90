"""Read what may never be listed: tracks, for everybody or for one user."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import storage
from etude.errors import DataCheckError, InputMissingError
from etude.tracks import indices

_COLUMNS = {"track_id", "user_id"}


@dataclass(frozen=True)
class Never:
    """Hold the list.

    Attributes:
        tracks: track_idx, distinct: those that nobody gets.
        pairs: user_idx, track_idx, distinct: those that a user doesn't get.
    """

    tracks: DataFrame
    pairs: DataFrame


def read_never(path: str, users: DataFrame, tracks: DataFrame, log: logging.Logger) -> Never:
    """Read the list; rows whose ids the lake doesn't know are counted in the log.

    Args:
        path: Parquet if it ends in .parquet, otherwise CSV with a header; of track_id and, if there is one, user_id. A
            row without a user is for all of them.
        users: user_id, user_idx.
        tracks: track_id, track_idx, alias_of; an alias stands for its track.
        log: for the line.

    Raises:
        InputMissingError: there is no file.
        DataCheckError: the files have no column track_id, or others than these two.
    """
    spark = users.sparkSession
    where = storage.for_spark(path)
    try:
        rows = (
            spark.read.parquet(where)
            if path.rstrip("/").endswith(".parquet")
            else spark.read.options(header=True, enforceSchema=False, escape='"').csv(where)
        )
    except AnalysisException as error:
        raise InputMissingError(f"topn.never={storage.shown(path)}: {str(error).splitlines()[0]}") from error
    if "track_id" not in rows.columns or not set(rows.columns) <= _COLUMNS:
        raise DataCheckError(
            f"topn.never={storage.shown(path)}: columns {', '.join(rows.columns)}; expected track_id, or track_id and "
            "user_id"
        )
    user = F.trim(F.col("user_id").cast("string")) if "user_id" in rows.columns else F.lit(None).cast("string")
    asked = rows.select(
        F.trim(F.col("track_id").cast("string")).alias("track_id"),
        F.when(user != "", user).alias("user_id"),
    ).distinct()
    known = asked.join(indices(tracks), "track_id", "left").join(users.select("user_id", "user_idx"), "user_id", "left")
    usable = known.where(F.col("track_idx").isNotNull() & (F.col("user_idx").isNotNull() | F.col("user_id").isNull()))
    found, unknown = usable.count(), asked.count()
    log.info("topn.never=%s rows=%d of_unknown_ids=%d", storage.shown(path), unknown, unknown - found)
    of_all = F.col("user_id").isNull()
    return Never(
        usable.where(of_all).select("track_idx").distinct(),
        usable.where(~of_all).select("user_idx", "track_idx").distinct(),
    )
