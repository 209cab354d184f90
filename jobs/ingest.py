"""Takes in a listening log and catalogues: cleaned plays, stable indices of users and tracks, interactions.

Of the log (listening.*), files that earlier batches took are left alone; they are known by content. Rows that can't
be used go to `rejects` with the reason, and rows in = plays kept + rows rejected. Running a batch again, or batches
in another order, leaves the tables the same. With ETUDE_USER_KEY in the environment, user ids are replaced by their
HMAC-SHA256.

Catalogues (catalogue.sources) fill `tracks`; later ones fill what earlier ones lack. `interactions` always holds
the newest state: all plays, summed by user and track, after the k-core and samples that listening.* asks for. It is
made anew each time, since a k-core is a property of the whole matrix, and wmf reads all of it next anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.interactions import filtered, sum_plays
from etude.job import JobRun, main
from etude.lake import folders
from etude.lake.runs import utc_now
from etude.lake.staging import Staging
from etude.listening.batch import Batch, check_balance, file_rows, read_batch
from etude.listening.catalogue import Catalogue, all_rejects, coverage, read_catalogue
from etude.listening.columns import Wanted
from etude.listening.indices import continue_indices
from etude.listening.settle import settle
from etude.listening.tracks import changed_tracks, merge_tracks
from etude.pseudonym import user_key


def run(job: JobRun) -> None:
    """Work everything out before the first table is written, so that a run that fails leaves the lake as it was."""
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"ingest-{job.run_id}")) as staging:
        ingest(job, staging)


def ingest(job: JobRun, staging: Staging) -> None:
    """What `run` does, with a place for intermediate results."""
    key, now, listening = user_key(), utc_now(), job.settings.listening
    plays, rejects = job.read("plays"), job.read("rejects", job="ingest")
    of_log = F.col("source") == listening.source

    batch = read_batch(staging, listening, job.read("ingested_files"), job.batch_date, now, key)
    tell_columns(job, batch.columns)
    before = plays.where(of_log), rejects.where(of_log)
    settled = settle(batch.numbered, *before, batch.taken, job.batch_date, batch.log, staging)
    count_rows(job, batch, settled.outcomes)
    catalogues = [
        read_catalogue(staging, source, job.batch_date, now, job.settings.catalogue.max_tags, key)
        for source in job.settings.catalogue.sources
    ]
    clean = batch.numbered.where(F.col("reason").isNull())
    users, new_users = number_users(job, clean, staging)
    tracks, new_tracks = number_tracks(job, clean, catalogues, staging)
    changing = of_log & F.col("batch_date").isin(list(settled.batches))
    all_plays = plays.where(~changing).unionByName(settled.plays)
    summed = staging.keep(sum_plays(all_plays, users, tracks))
    interactions, rounds = filtered(summed, users, tracks, listening, staging)

    # Ids before plays: a run that dies in between leaves no play without an index.
    merge(job, "users", new_users)
    merge(job, "tracks", new_tracks)
    if batch.taken.read:
        where = {"source": listening.source, "batch_date": list(settled.batches)}
        # Rejects before plays: what a run that dies in between has refused of known plays, the next refuses again.
        job.replace("rejects", settled.rejects, **where)
        job.replace("plays", settled.plays, **where)
    replace_rejects(job, catalogues, rejects)
    job.replace("interactions", interactions)
    # Files last: only now do they count as taken.
    merge(job, "ingested_files", file_rows(job.spark, listening.source, batch.taken, batch.columns, key))
    job.note("k_core_rounds", rounds)
    job.note("catalogues", coverage(catalogues, summed.join(tracks, "track_idx")))
    for table in ("users", "tracks", "interactions"):
        job.count(table, job.lake.count(table))


def tell_columns(job: JobRun, wanted: Wanted) -> None:
    """Say which column was taken for what, where nobody had said it, and which one may have been forgotten."""
    if wanted.guessed:
        found = " ".join(f"{role}={column!r}" for role, column in wanted.columns.items())
        job.log.info("%s=guessed %s", wanted.section, found)
    for role, column in wanted.overlooked.items():
        job.log.warning("%s.%s=null hint='not read: column %s, which looks like it'", wanted.section, role, column)


def count_rows(job: JobRun, batch: Batch, outcomes: DataFrame) -> None:
    """Count what became of the batch's records, and check that none is missing."""
    counts = {row["reason"]: row["count"] for row in outcomes.groupBy("reason").count().collect()}
    kept = counts.pop(None, 0)
    taken = batch.taken
    job.count("files_read", len(taken.read))
    job.count("files_skipped", taken.skipped)
    job.count("rows_in", batch.rows_in)
    job.count("plays_kept", kept)
    job.count("rejects", sum(counts.values()))
    job.note("rejected", dict(sorted(counts.items())))
    job.log.info("rows_in=%d plays_kept=%d rejects=%d reasons=%s", batch.rows_in, kept, sum(counts.values()), counts)
    repeats = counts.get("duplicate", 0)
    if repeats > batch.rows_in / 2:
        hint = "most rows are known already; a file that grows in place comes whole each time: better a file a batch"
        job.log.warning("duplicates=%d rows_in=%d hint=%r", repeats, batch.rows_in, hint)
    if taken.skipped:
        job.log.info("files_skipped=%d reason='content known from other files or earlier batches'", taken.skipped)
    listening = job.settings.listening
    check_balance(batch.rows_in, kept, counts, listening.max_reject_share, str(listening.path))


def number_users(job: JobRun, clean: DataFrame, staging: Staging) -> tuple[DataFrame, DataFrame]:
    """All users with their indices, and the new ones among them."""
    known = job.read("users")
    new = continue_indices(clean, known, "user_id", "user_idx", staging)
    return known.unionByName(new), new


def number_tracks(
    job: JobRun, clean: DataFrame, catalogues: Sequence[Catalogue], staging: Staging
) -> tuple[DataFrame, DataFrame]:
    """track_id, track_idx of all tracks, and the rows of `tracks` that are new or have changed."""
    known = job.read("tracks")
    merged = merge_tracks(known, catalogues, clean, job.settings.catalogue.only_played, staging)
    changed = staging.keep(changed_tracks(merged, known))
    for catalogue in catalogues:
        tell_columns(job, catalogue.columns)
    new = continue_indices(changed.where(F.col("track_idx").isNull()), known, "track_id", "track_idx", staging)
    indexed = changed.withColumnRenamed("track_idx", "known_idx").join(new, "track_id", "left")
    rows = indexed.withColumn("track_idx", F.coalesce("known_idx", "track_idx")).drop("known_idx")
    return known.select("track_id", "track_idx").unionByName(new), rows


def replace_rejects(job: JobRun, catalogues: Sequence[Catalogue], known: DataFrame) -> None:
    """Put the catalogues' rejects in the place of those of earlier runs, if there are any of either."""
    sources = [catalogue.source for catalogue in catalogues]
    if not sources:
        return
    before = known.where(F.col("source").isin(sources))
    rows = all_rejects(catalogues, before)
    if not (rows.isEmpty() and before.isEmpty()):
        job.replace("rejects", rows, source=sources)


def merge(job: JobRun, table: str, rows: DataFrame) -> None:
    """Merge rows into a table; where there are none, the table's version stays as it is."""
    if rows.isEmpty():
        return
    if job.lake.exists(table):
        job.merge(table, rows)
    else:
        job.replace(table, rows)


if __name__ == "__main__":
    main("ingest", run, __doc__)
