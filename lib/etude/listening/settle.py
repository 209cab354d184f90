"""Reconcile a batch with the plays in the lake, so that batches may arrive in any order, be rerun, or hold repeats.

Every record of a play is a claim: (event, batch, file, record). The lake's content depends only on the set of claims:

- events: the play belongs to the first claim by (batch date, file, record); the other claims are `duplicate`.
- snapshots: each batch selects the largest count. A claim that no batch with its file selects is `duplicate`. Of the
  selected claims, the lake keeps the count of the latest batch, under the batch date of the event's earliest claim.
  The others are older counts and are dropped.

Plays and rejects of the files just read are recomputed, so no outdated rows remain.

A play keeps its file and record. So a play that an earlier batch turns into a repeat moves to `rejects` under its
regular locator. Changes are whole batches of `plays` and `rejects`, each replaced in one commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.frames import small_frame
from etude.lake.staging import Staging
from etude.lake.tables import PLAYS
from etude.listening.cleaning import detail
from etude.listening.dedup import play_as_raw
from etude.listening.files import Taken
from etude.listening.identity import content_of, event_id, locator
from etude.listening.near import near_plays

_REJECT = ("source", "locator", "raw", "reason", "detail", "batch_date")


@dataclass(frozen=True)
class Settled:
    """Hold the log's new content of `plays` and `rejects` in the batches that change."""

    batches: tuple[date, ...]
    plays: DataFrame
    """All plays of the log in those batches; the columns of the table."""
    rejects: DataFrame
    """All its rejects in those batches; the columns of the table except `job`."""
    outcomes: DataFrame
    """reason of each record of the files just read; null for a kept play."""


@dataclass(frozen=True)
class Log:
    """Describe a log: its name, whether it is a snapshot, and how it identifies repeats."""

    source: str
    snapshot: bool
    dedup_days: int
    own_event_ids: bool
    counted: bool = False
    """Whether each row is a play. In a snapshot, all plays of a user and track then count on one batch together."""


def settle(
    numbered: DataFrame, plays: DataFrame, rejects: DataFrame, taken: Taken, batch: date, log: Log, staging: Staging
) -> Settled:
    """Reconcile a batch with the lake.

    Args:
        numbered: result of `number_records`, staged: all records of the files just read.
        plays: the table's rows of this source.
        rejects: the table's rows of ingest and this source.
        taken: the files just read.
        batch: the batch date.
        log: the log's properties.
        staging: keeps frames that are read several times.
    """
    contents = [(file.content[:16],) for file in taken.read]
    read = F.broadcast(small_frame(plays.sparkSession, contents, "content string"))
    plays = plays.withColumn("content", content_of(F.col("file")))
    rejects = rejects.withColumn("content", content_of(F.col("locator")))
    batches = set(taken.touched_batches)
    known = _without(plays, read, None if log.snapshot else batches)
    elsewhere = _seen_elsewhere(taken, batch) if log.snapshot else []
    if log.snapshot:
        replaced = plays.join(read, "content", "left_semi")
        dates = _dates(replaced)
        batches |= dates | _dates(rejects.join(read, "content", "left_semi"))
        if dates or elsewhere:
            numbered = staging.keep(_with_history(numbered, replaced, rejects, elsewhere))
    is_clean = F.col("reason").isNull()
    new = _as_plays(numbered.where(is_clean), log.source)
    refused = _as_rejects(numbered.where(~is_clean), log.source)
    still_refused = rejects.join(read, "content", "left_anti")
    ranked = _rank(new, known, batch, log, bool(elsewhere), staging)
    if ranked is None:
        written, moved, outcomes = new.withColumn("batch_date", F.col("earliest")), None, numbered
        batches |= _dates(written) if log.snapshot else set()
    else:
        changed = F.col("batch_date") != F.col("earliest")
        winner, fresh, repeat = F.col("place") == 1, F.col("fresh"), F.col("repeat")
        moved = ranked.where(~fresh & (~winner | changed)).select("event_id", "batch_date")
        written = ranked.where(winner & (fresh | changed)).withColumn("batch_date", F.col("earliest"))
        repeats = _as_repeats(ranked.where(repeat), log)
        # A run killed after it wrote the rejects may have left rejects of known plays.
        still_refused = still_refused.join(repeats.select("locator"), "locator", "left_anti")
        refused = refused.unionByName(repeats)
        batches |= _dates(moved) | _dates(written)
        of_ranked = ranked.where(fresh).select(F.when(repeat, "duplicate").alias("reason"))
        outcomes = numbered.where(~is_clean).select("reason").unionByName(of_ranked)
    in_batches = F.col("batch_date").isin(sorted(batches))
    staying = known.where(in_batches)
    if moved is not None:
        staying = staying.join(moved, ["event_id", "batch_date"], "left_anti")
    return Settled(
        tuple(sorted(batches)),
        staying.select(*PLAYS.column_names).unionByName(written.select(*PLAYS.column_names)),
        still_refused.where(in_batches).select(*_REJECT).unionByName(refused),
        outcomes.select("reason"),
    )


def _without(plays: DataFrame, read: DataFrame, batches: set[date] | None) -> DataFrame:
    """Remove plays of the files just read; `batches` holds their possible batch dates, or None if unknown."""
    if batches is None:
        return plays.join(read, "content", "left_anti")
    # The condition on batches prunes the other partitions.
    here = read.withColumnRenamed("content", "again")
    same = (F.col("content") == F.col("again")) & F.col("batch_date").isin(sorted(batches))
    return plays.join(here, same, "left_anti")


def _seen_elsewhere(taken: Taken, batch: date) -> list[tuple[str, bool]]:
    """Return (content, True) for files just read that other batches have seen too."""
    seen = [file for file in taken.read if file.known_first is not None]
    return [(f.content[:16], True) for f in seen if not f.known_first == batch == f.last_batch]


def _with_history(
    numbered: DataFrame, replaced: DataFrame, rejects: DataFrame, elsewhere: list[tuple[str, bool]]
) -> DataFrame:
    """Update a snapshot's records with the results of other batches.

    The earliest batch of an event includes that of its play, if a file just read supplied the play. A record selected
    in another batch but not in this one is kept. Such a record was read there and not rejected, because a record that
    is neither a play nor a reject is an older count.
    """
    before = replaced.select("event_id", F.col("batch_date").alias("before"))
    rows = numbered.join(before, "event_id", "left").withColumn("earliest", F.least("earliest", "before"))
    files = small_frame(numbered.sparkSession, elsewhere, "content string, elsewhere boolean")
    refused = rejects.where(F.col("reason") == "duplicate").select(
        F.substring_index("locator", "@", -1).alias("tail"), F.lit(True).alias("refused")
    )
    where = locator(F.col("file"), F.col("record"), F.col("ordinal"))
    rows = rows.withColumns({"content": content_of(F.col("file")), "tail": F.substring_index(where, "@", -1)})
    rows = rows.join(F.broadcast(files), "content", "left").join(refused, "tail", "left")
    counts = (F.col("reason") == "duplicate") & (F.col("ordinal") == 0) & F.col("elsewhere") & F.col("refused").isNull()
    rows = rows.withColumn("reason", F.when(~F.coalesce(counts, F.lit(False)), F.col("reason")))
    return rows.select(*numbered.columns)


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
        "earliest",
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


def _as_repeats(plays: DataFrame, log: Log) -> DataFrame:
    """Turn repeated plays into rejects, in the batch of their file.

    A play is the first among equal records, unless each of them is a play.
    """
    equal = Window.partitionBy("file", "record").orderBy("event_id")
    ordinal = F.row_number().over(equal) - 1 if log.counted else F.lit(0)
    return plays.select(
        "source",
        locator(F.col("file"), F.col("record"), ordinal).alias("locator"),
        play_as_raw().alias("raw"),
        F.lit("duplicate").alias("reason"),
        detail(F.lit("duplicate")).alias("detail"),
        F.col("counted_on").alias("batch_date"),
    )


def _rank(
    new: DataFrame, known: DataFrame, batch: date, log: Log, several_claims: bool, staging: Staging
) -> DataFrame | None:
    """Combine the new plays with the lake's plays of the same events, and rank the claims of each event.

    Args:
        new: the plays of this run, columns of `_as_plays`.
        known: the lake's plays without those of the files just read.
        batch: the batch date.
        log: the log's properties.
        several_claims: whether an event may have several claims among the new plays (snapshots of which a later batch
            saw only some).
        staging: keeps the result.

    Returns:
        The columns of plays and fresh (of this run), place (1: the claim that is kept), earliest (batch date of the
        event), repeat (whether the claim is a repeat; otherwise a claim that is not kept is an older count). None if
        the lake has no plays of these events and `several_claims` is false.
    """
    reach = timedelta(days=log.dedup_days)
    batches = (batch - reach, batch + reach) if log.own_event_ids else None
    near = known if log.snapshot else near_plays(new, known, batches)
    if near.isEmpty() and not several_claims:
        return None
    # The plays of a user and track are one count if each row of a snapshot is a play.
    whole = event_id(log.source, True, F.lit(None)) if log.snapshot and log.counted else F.col("event_id")
    near = near.select(*PLAYS.column_names, whole.alias("whole"))
    same = staging.keep(near.join(new.select(whole.alias("whole")), "whole", "left_semi").drop("whole"))
    if same.isEmpty() and not several_claims:
        return None
    same = same.withColumn("earliest", F.col("batch_date"))
    both = new.withColumn("fresh", F.lit(True)).unionByName(same.withColumn("fresh", F.lit(False)))
    of_event = Window.partitionBy("event_id")
    in_order = of_event.orderBy(*_order(log.snapshot))
    place = F.row_number().over(in_order)
    repeat = place > 1
    if log.snapshot:
        # Both belong to this batch alone: one comes from a file that its previous run read.
        newest, here = F.max("counted_on").over(Window.partitionBy(whole)), F.lit(batch)
        of_batch = (F.col("counted_on") == here) & (~F.col("fresh") | (F.col("batch_date") == here))
        repeat = repeat & of_batch & (newest == here)
        place = F.when(F.col("counted_on") == newest, place).otherwise(place + 1)
    ranked = both.withColumns({"place": place, "repeat": repeat, "earliest": F.min("earliest").over(of_event)})
    return staging.keep(ranked)


def _order(snapshot: bool) -> list[Column]:
    first = [F.desc("counted_on"), F.desc("play_count")] if snapshot else [F.asc("batch_date")]
    return [*first, F.asc("file"), F.asc("record")]


def _dates(rows: DataFrame) -> frozenset[date]:
    return frozenset(row[0] for row in rows.select("batch_date").distinct().collect())  # one row per batch
