"""Settling a batch with the plays in the lake, so that batches may come in any order, again, or with repeats.

Every record of a play is a claim: (event, batch, file, record). What the lake must hold is a function of the set of
claims alone:

- events: the play belongs to the claim that is first by (batch date, file, record); the other claims are `duplicate`.
- snapshots: the count is that of the latest batch with a claim, the batch date that of the earliest; of two claims
  of one batch the larger count stands and the other is `duplicate`.

A play keeps its file and record, so that a play which an earlier batch turns into a repeat can be moved to
`rejects` under the locator it would have had. All changes come as whole batches of `plays` and `rejects`, each
replaced in one commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.lake.tables import PLAYS
from etude.listening.cleaning import detail
from etude.listening.dedup import play_as_raw
from etude.listening.files import Taken
from etude.listening.frames import small_frame
from etude.listening.identity import content_of, locator
from etude.listening.staging import Staging

_REJECT = ("source", "locator", "raw", "reason", "detail", "batch_date")


@dataclass(frozen=True)
class Settled:
    """What `plays` and `rejects` must hold of the log in the batches that change."""

    batches: tuple[date, ...]
    plays: DataFrame
    """All plays of the log in those batches; the columns of the table."""
    rejects: DataFrame
    """All its rejects in those batches; the columns of the table but `job`."""
    outcomes: DataFrame
    """reason of each record of the files just read; null where it is a kept play."""


@dataclass(frozen=True)
class Log:
    """What settling must know of a log: its name, whether it is a snapshot, and how far repeats are looked for."""

    source: str
    snapshot: bool
    dedup_days: int
    own_event_ids: bool


def settle(
    numbered: DataFrame, plays: DataFrame, rejects: DataFrame, taken: Taken, batch: date, log: Log, staging: Staging
) -> Settled:
    """Settle a batch.

    Args:
        numbered: what `number_records` gives, staged: all records of the files just read.
        plays: the table's rows of this source.
        rejects: the table's rows of ingest and this source.
        taken: the files just read.
        batch: the batch date.
        log: the log's nature.
        staging: for what is read several times.
    """
    is_clean = F.col("reason").isNull()
    new = _as_plays(numbered.where(is_clean), log.source)
    refused = _as_rejects(numbered.where(~is_clean), log.source)
    known = _without_reread(plays, taken)
    several_claims = len({file.last_batch for file in taken.read}) > 1
    ranked = _rank(new, known, batch, log, several_claims, staging)
    batches = set(taken.touched_batches)
    if ranked is None:
        written, moved, outcomes = new, None, numbered
    else:
        changed = F.col("batch_date") != F.col("earliest")
        winner, fresh, repeat = F.col("place") == 1, F.col("fresh"), (F.col("place") > 1) & F.col("repeat")
        moved = ranked.where(~fresh & (~winner | changed)).select("event_id", "batch_date")
        written = ranked.where(winner & (fresh | changed)).withColumn("batch_date", F.col("earliest"))
        refused = refused.unionByName(_as_repeats(ranked.where(repeat)))
        batches |= _dates(moved) | _dates(written)
        of_ranked = ranked.where(fresh).select(F.when(repeat, "duplicate").alias("reason"))
        outcomes = numbered.where(~is_clean).select("reason").unionByName(of_ranked)
    in_batches = F.col("batch_date").isin(sorted(batches))
    staying = known.where(in_batches)
    if moved is not None:
        staying = staying.join(moved, ["event_id", "batch_date"], "left_anti")
    reread = small_frame(plays.sparkSession, [(file.content[:16],) for file in taken.read], "content string")
    old_rejects = rejects.where(in_batches).withColumn("content", content_of(F.col("locator")))
    still_refused = old_rejects.join(F.broadcast(reread), "content", "left_anti")
    return Settled(
        tuple(sorted(batches)),
        staying.select(*PLAYS.column_names).unionByName(written.select(*PLAYS.column_names)),
        still_refused.select(*_REJECT).unionByName(refused),
        outcomes.select("reason"),
    )


def _as_plays(clean: DataFrame, source: str) -> DataFrame:
    return clean.select(
        "event_id",
        "user_id",
        "track_id",
        "played_at",
        "play_count",
        F.lit(source).alias("source"),
        F.col("first_batch").alias("batch_date"),
        F.col("last_batch").alias("counted_on"),
        "file",
        "record",
    )


def _as_rejects(refused: DataFrame, source: str) -> DataFrame:
    well_formed = F.col("reason").isin("duplicate", "bot")
    return refused.select(
        F.lit(source).alias("source"),
        locator(F.col("file"), F.col("record"), F.col("ordinal")).alias("locator"),
        F.when(well_formed, play_as_raw()).otherwise(F.col("raw")).alias("raw"),
        "reason",
        detail(F.col("reason")).alias("detail"),
        F.col("first_batch").alias("batch_date"),
    )


def _as_repeats(plays: DataFrame) -> DataFrame:
    """Plays that turned out to be repeats; a play is always the first among equal records."""
    return plays.select(
        "source",
        locator(F.col("file"), F.col("record"), F.lit(0)).alias("locator"),
        play_as_raw().alias("raw"),
        F.lit("duplicate").alias("reason"),
        detail(F.lit("duplicate")).alias("detail"),
        "batch_date",
    )


def _rank(
    new: DataFrame, known: DataFrame, batch: date, log: Log, several_claims: bool, staging: Staging
) -> DataFrame | None:
    """The new plays together with the lake's plays of the same events, best claim first.

    None where the lake has none, unless the new ones have several claims themselves (snapshots of which a later batch
    saw some, and not the others).

    Returns:
        The columns of plays and fresh (of this run), place (1 = stands), earliest (batch date of the event), repeat
        (whether, not standing, it is a repeat and not just an older count or the same record).
    """
    near = known
    if not log.snapshot:
        reach = timedelta(days=log.dedup_days)
        near = near.where(F.col("batch_date").between(batch - reach, batch + reach))
        if not log.own_event_ids:
            # Repeats have the same time, so only files of the lake that hold such times are opened.
            times = new.agg(F.min("played_at"), F.max("played_at")).first()
            near = near.where(F.col("played_at").between(*times)) if times and times[0] else near.limit(0)
    if near.isEmpty() and not several_claims:
        return None
    same = staging.keep(near.join(new.select("event_id"), "event_id", "left_semi"))
    if same.isEmpty() and not several_claims:
        return None
    both = new.withColumn("fresh", F.lit(True)).unionByName(same.withColumn("fresh", F.lit(False)))
    of_event = Window.partitionBy("event_id")
    in_order = of_event.orderBy(*_order(log.snapshot))
    content = content_of(F.col("file"))
    same_record = (content == F.first(content).over(in_order)) & (F.col("record") == F.first("record").over(in_order))
    same_batch = F.col("counted_on") == F.first("counted_on").over(in_order)
    ranked = both.withColumns(
        {
            "place": F.row_number().over(in_order),
            "earliest": F.min("batch_date").over(of_event),
            "repeat": ~same_record & same_batch if log.snapshot else ~same_record,
        }
    )
    return staging.keep(ranked)


def _order(snapshot: bool) -> list[Column]:
    first = [F.desc("counted_on"), F.desc("play_count")] if snapshot else [F.asc("batch_date")]
    return [*first, F.asc("file"), F.asc("record"), F.desc("fresh")]


def _without_reread(plays: DataFrame, taken: Taken) -> DataFrame:
    """Plays but those that files which are now read again brought to their batch: they are made anew."""
    rows = [(file.content[:16], file.known_first) for file in taken.read if file.known_first is not None]
    if not rows:
        return plays
    again = small_frame(plays.sparkSession, rows, "content string, batch_date date")
    marked = plays.withColumn("content", content_of(F.col("file")))
    return marked.join(F.broadcast(again), ["content", "batch_date"], "left_anti").drop("content")


def _dates(rows: DataFrame) -> frozenset[date]:
    return frozenset(row[0] for row in rows.select("batch_date").distinct().collect())  # as many as there are batches
