"""Clean a listening log and catalogues: plays, rejects, stable indices of users and tracks, interactions.

Files of the log (listening.*) that an earlier batch took are skipped; they are recognised by content. A row that can't
be used goes to `rejects` with the reason, so rows in = plays kept + rows rejected. The tables are the same if a batch
runs again or if batches come in another order. If ETUDE_USER_KEY is set, user ids are replaced by their HMAC-SHA256.

Catalogues (catalogue.sources) fill `tracks`; a later one fills only the fields that earlier ones lack. Plays keep the
track id of the log; if it is an alias (catalogue.aliases), `interactions` counts them for its track. `interactions`
holds the newest state: all plays, summed by user and track, after the k-core and the samples of listening.*. A night
whose plays are all new adds them to the sums, if nothing filters interactions. Otherwise all plays are summed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from etude.interactions import MOST_ADDED, added, filtered, keeps_all, sum_plays, unlike_plays
from etude.job import JobRun, main
from etude.lake import folders
from etude.lake.runs import utc_now
from etude.lake.staging import Staging
from etude.listening.aliases import Aliases, read_aliases, resolved
from etude.listening.batch import Batch, check_balance, check_repeats, file_rows, read_batch
from etude.listening.catalogue import Catalogue, coverage, read_catalogue
from etude.listening.columns import Wanted
from etude.listening.indices import continue_indices
from etude.listening.listings import all_rejects
from etude.listening.settle import settle
from etude.listening.tracks import changed_tracks, merge_tracks, with_alias_of
from etude.pseudonym import user_key


def run(job: JobRun) -> None:
    """Compute everything before the first table is written: a run that fails until then leaves the lake as it was."""
    with Staging(job.spark, folders.checkpoints(job.lake.root, f"ingest-{job.run_id}")) as staging:
        ingest(job, staging)


def ingest(job: JobRun, staging: Staging) -> None:
    """Do the work of `run`, with a folder for intermediate results."""
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
    aliases = [read_aliases(staging, source, job.batch_date, now, key) for source in job.settings.catalogue.aliases]
    clean = batch.numbered.where(F.col("reason").isNull())
    users, new_users = number_users(job, clean, staging)
    tracks, new_tracks = number_tracks(job, clean, catalogues, aliases, staging)
    changing = of_log & F.col("batch_date").isin(list(settled.batches))
    summed = sums(job, plays, changing, settled.plays, users, tracks, staging)
    interactions, rounds = filtered(summed, users, tracks, listening, staging)

    # Ids before plays: if the process is killed in between, no play lacks an index.
    merge(job, "users", new_users)
    merge(job, "tracks", new_tracks)
    if batch.taken.read:
        where = {"source": listening.source, "batch_date": list(settled.batches)}
        # Rejects before plays: if the process is killed in between, the next run rejects the same known plays again.
        job.replace("rejects", settled.rejects, **where)
        job.replace("plays", settled.plays, **where)
    replace_rejects(job, [*catalogues, *aliases], rejects)
    job.replace("interactions", interactions)
    # Files last: they count as taken only now.
    merge(job, "ingested_files", file_rows(job.spark, listening.source, batch.taken, batch.columns, key))
    job.note("k_core_rounds", rounds)
    job.note("catalogues", coverage(catalogues, summed.join(tracks, "track_idx")))
    if job.settings.catalogue.aliases:
        job.count("track_aliases", tracks.where(F.col("alias_of").isNotNull()).count())
    for table in ("users", "tracks", "interactions"):
        job.count(table, job.lake.count(table))


def tell_columns(job: JobRun, wanted: Wanted) -> None:
    """Log the columns that were guessed, and warn of columns that may have been forgotten."""
    if wanted.guessed:
        found = " ".join(f"{role}={column!r}" for role, column in wanted.columns.items())
        job.log.info("%s=guessed %s", wanted.section, found)
    for role, column in wanted.overlooked.items():
        job.log.warning("%s.%s=null hint='column %s looks like it and is not read'", wanted.section, role, column)


def count_rows(job: JobRun, batch: Batch, outcomes: DataFrame) -> None:
    """Count the batch's records by outcome, and check that none is missing."""
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
    repeats, listening = counts.get("duplicate", 0), job.settings.listening
    unread = check_repeats(repeats, batch.numbered, batch.columns, listening)
    if unread:
        job.log.warning("duplicates=%d hint=%r", repeats, unread)
    elif repeats > batch.rows_in / 2:
        hint = "most rows are known already; a file that grows in place is read whole each time: write one per batch"
        job.log.warning("duplicates=%d rows_in=%d hint=%r", repeats, batch.rows_in, hint)
    if taken.skipped:
        job.log.info("files_skipped=%d reason='content known from other files or earlier batches'", taken.skipped)
    check_balance(batch.rows_in, kept, counts, listening.max_reject_share, str(listening.path))


def number_users(job: JobRun, clean: DataFrame, staging: Staging) -> tuple[DataFrame, DataFrame]:
    """Return user_id and user_idx of all users, and those of the new users."""
    known = job.read("users")
    new = continue_indices(clean, known, "user_id", "user_idx", staging)
    return known.unionByName(new), new


def number_tracks(
    job: JobRun, clean: DataFrame, catalogues: Sequence[Catalogue], aliases: Sequence[Aliases], staging: Staging
) -> tuple[DataFrame, DataFrame]:
    """Return track_id, track_idx and alias_of of all tracks, and the rows of `tracks` that are new or have changed."""
    known = job.read("tracks")
    read: list[Catalogue | Aliases] = [*catalogues, *aliases]
    for source in read:
        tell_columns(job, source.columns)
    of_tracks, of_artists = (resolved(aliases, of, staging) for of in ("track", "artist"))
    if of_tracks is None and job.lake.has_values("tracks", ["alias_of"]):
        of_tracks = known.where(F.col("alias_of").isNotNull()).select(
            F.col("track_id").alias("alias"), F.col("alias_of").alias("id")
        )
    only_played = job.settings.catalogue.only_played
    merged = merge_tracks(known, catalogues, clean, only_played, staging, of_tracks, of_artists)
    changed = staging.keep(changed_tracks(merged, known))
    new = continue_indices(changed.where(F.col("track_idx").isNull()), known, "track_id", "track_idx", staging)
    indexed = changed.withColumnRenamed("track_idx", "known_idx").join(new, "track_id", "left")
    rows = indexed.withColumn("track_idx", F.coalesce("known_idx", "track_idx")).drop("known_idx")
    every = known.select("track_id", "track_idx").unionByName(new)
    return with_alias_of(every, of_tracks), rows


def sums(
    job: JobRun,
    plays: DataFrame,
    changing: Column,
    changed: DataFrame,
    users: DataFrame,
    tracks: DataFrame,
    staging: Staging,
) -> DataFrame:
    """Sum all plays by user and track: add the new ones to `interactions`, or sum all again if that can't be right.

    Args:
        job: the run.
        plays: the table, as it was before this run.
        changing: which of its rows this run replaces.
        changed: the plays in their place.
        users: user_id and user_idx of all users.
        tracks: track_id, track_idx and alias_of of all tracks.
        staging: keeps the sums.
    """
    anew = why_anew(job)
    if anew is None and not plays.where(changing).isEmpty():
        anew = "plays of earlier runs change"
    if anew is None:
        new = staging.keep(sum_plays(changed, users, tracks))
        pairs = new.count()
        if pairs <= MOST_ADDED:
            job.log.info("interactions=added pairs=%d", pairs)
            return added(job.read("interactions"), new, staging)
        anew = "many new plays"
    job.log.info("interactions=summed reason=%r", anew)
    return staging.keep(sum_plays(plays.where(~changing).unionByName(changed), users, tracks))


def why_anew(job: JobRun) -> str | None:
    """Return why new plays can't be added to `interactions`; None if they can."""
    if not keeps_all(job.settings.listening.model_dump()):
        return "listening.* filters them"
    if job.settings.catalogue.aliases or job.lake.has_values("tracks", ["alias_of"]):
        return "some ids are aliases"
    return unlike_plays(job.lake, job.graph)


def replace_rejects(job: JobRun, read: Sequence[Catalogue | Aliases], known: DataFrame) -> None:
    """Replace the rejects of earlier runs from the same sources, unless there are neither old nor new ones."""
    sources = [source.source for source in read]
    if not sources:
        return
    before = known.where(F.col("source").isin(sources))
    rows = all_rejects([source.rejects for source in read], before)
    if not (rows.isEmpty() and before.isEmpty()):
        job.replace("rejects", rows, source=sources)


def merge(job: JobRun, table: str, rows: DataFrame) -> None:
    """Merge rows into a table; without rows, the table's version doesn't change."""
    if rows.isEmpty():
        return
    if job.lake.exists(table):
        job.merge(table, rows)
    else:
        job.replace(table, rows)


if __name__ == "__main__":
    main("ingest", run, __doc__)
