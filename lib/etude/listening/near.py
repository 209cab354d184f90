"""Find the plays of the lake that can be repeats of new ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from itertools import accumulate

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

_NEARLY_ALL = 0.999
_MOST_LATE = 1_000_000
"""Most plays of other days whose ids are broadcast."""


def near_plays(new: DataFrame, known: DataFrame, batches: tuple[date, date] | None = None) -> DataFrame:
    """Select the plays that can be repeats of the new ones, so that Spark opens and shuffles few of the lake's.

    These are the plays of the time that nearly all new ones have, and of the others' time those with their ids: one
    late play doesn't make a night compare itself with years.

    Args:
        new: event_id, played_at.
        known: the lake's plays.
        batches: first and last batch date of plays that may have the same ids at another time; None if there are none.
    """
    # Use numbers: Python's local times are ambiguous when the clocks go back.
    micros = F.unix_micros("played_at")
    of_days = new.where(F.col("played_at").isNotNull()).groupBy(F.to_date("played_at").alias("day"))
    days = of_days.agg(F.count("*").alias("n"), F.min(micros).alias("first"), F.max(micros).alias("last")).collect()
    if not days:
        return known.limit(0)
    most = _most(days)
    usual = _span(most)
    near = usual
    if batches is not None:
        near = near | F.col("batch_date").between(*batches)
    if len(most) == len(days):
        return known.where(near)
    late = new.where(~usual).select("event_id").limit(_MOST_LATE + 1)
    if late.count() > _MOST_LATE:
        return known.where(near | _span(days))
    others = known.where(_span(days) & ~near).join(F.broadcast(late), "event_id", "left_semi")
    return known.where(near).unionByName(others)


def _most(days: Sequence[Row]) -> Sequence[Row]:
    """Return the days with the most plays that hold nearly all of them together."""
    ordered = sorted(days, key=lambda day: -day["n"])
    sums = list(accumulate(day["n"] for day in ordered))
    return ordered[: bisect_left(sums, _NEARLY_ALL * sums[-1]) + 1]


def _span(days: Sequence[Row]) -> Column:
    """Return whether played_at lies between the first and the last play of some days."""
    first, last = min(day["first"] for day in days), max(day["last"] for day in days)
    ends = (F.timestamp_micros(F.lit(end).cast("bigint")) for end in (first, last))
    return F.col("played_at").between(*ends)
