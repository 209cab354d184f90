"""Find repeats and bots within a batch, and number equal records."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.config.listening import ListeningSettings
from etude.listening.identity import hash_of
from etude.listening.parsers import HEADER


def number_records(judged: DataFrame, snapshot: bool, count_rows: bool = False) -> DataFrame:
    """Find repeats and number equal records, in one shuffle.

    If several records of the batch have the same event, the first by file name and record hash is kept. In a snapshot
    the largest count of a user and track is kept, because counts only grow. The others become `duplicate`.

    Args:
        judged: result of `clean`.
        snapshot: whether rows are cumulative counts.
        count_rows: whether each row is a play: then there are no repeats in the batch, and the second and further
            plays of an event get event ids of their own.

    Returns:
        The columns of `judged`, without the files' headers; ordinal (int, from 0, among equal records of a file), and
        earliest (the first batch of any record of the event).
    """
    # Clean records are grouped by event id; rejected ones have none and are grouped with equal records. The shuffle
    # carries an event id once, as the slot.
    clean = F.col("reason").isNull()
    slot = F.coalesce(F.col("event_id"), F.concat_ws("#", F.col("file"), F.col("record").cast("string")))
    rows = judged.withColumn("slot", slot).drop("event_id")
    of_slot = Window.partitionBy("slot")
    in_order = [F.asc("file"), F.asc("record")]
    if snapshot:
        in_order = [F.desc("play_count"), *in_order]
    in_slot = of_slot.orderBy(*in_order)
    # Equal records have the same rank, which counts the records before them.
    rows = rows.withColumns({"nth": F.row_number().over(in_slot), "rank": F.rank().over(in_slot)})
    earliest = F.min("first_batch").over(of_slot) if snapshot else F.col("first_batch")
    rows = rows.withColumns({"earliest": earliest, "ordinal": F.col("nth") - F.col("rank")})
    is_header, again = F.col("reason").eqNullSafe(HEADER), F.col("nth") > 1
    reason, event = F.when(is_header, "repeated_header"), F.col("slot")
    if count_rows:
        event = F.when(again, hash_of(event, (F.col("nth") - 1).cast("string"))).otherwise(event)
    else:
        reason = reason.when(clean & again, "duplicate")
    rows = rows.withColumn("event_id", F.when(clean, event))
    # The first such line of each file is its header.
    kept = rows.where(~(is_header & (F.col("ordinal") == 0)))
    return kept.withColumn("reason", reason.otherwise(F.col("reason"))).select(*judged.columns, "ordinal", "earliest")


def reject_bots(numbered: DataFrame, settings: ListeningSettings) -> DataFrame:
    """Reject as `bot` the plays of users with more plays than the settings allow, in the batch or on one day."""
    caps = (
        (settings.max_plays_per_user, {"user_id": F.col("user_id")}),
        (settings.max_plays_per_user_day, {"user_id": F.col("user_id"), "day": F.to_date("played_at")}),
    )
    clean = numbered.where(F.col("reason").isNull())
    for cap, keys in caps:
        if cap is not None:
            heavy = clean.groupBy(*(key.alias(name) for name, key in keys.items())).agg(
                F.sum("play_count").alias("plays")
            )
            heavy = heavy.where(F.col("plays") > cap).drop("plays").withColumn("heavy", F.lit(True))
            numbered = _mark(numbered.withColumns(keys), heavy, list(keys)).drop("day")
    return numbered


def _mark(rows: DataFrame, heavy: DataFrame, keys: list[str]) -> DataFrame:
    found = F.col("reason").isNull() & F.col("heavy")
    marked = rows.join(heavy, keys, "left")
    return marked.withColumn("reason", F.when(found, "bot").otherwise(F.col("reason"))).drop("heavy")


def play_as_raw() -> Column:
    """Return the `raw` column of repeats and bots: their cleaned fields, equal for rows of files and of `plays`."""
    return F.to_json(F.struct("track_id", "played_at", "play_count"))
