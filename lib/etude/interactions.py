"""Sum plays by user and track, take the k-core of that matrix, and draw seeded samples of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.listening import ListeningSettings
from etude.errors import InputMissingError
from etude.hashing import id_key, uniform
from etude.lake import ledger
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.staging import Staging
from etude.tracks import indices

_NEUTRAL = {"min_plays_per_user": 1, "min_plays_per_track": 1, "sample_users": None, "max_tracks": None}
_BROADCAST_BELOW = 5_000_000  # ids of 4 bytes: 20 MB per executor
_BROADCAST_IDS_BELOW = 1_000_000  # ids of about 20 bytes with an index: 100 MB per executor

MOST_ADDED = 2_000_000
"""Pairs of new plays that `added` takes: 200 MB per executor."""


@dataclass(frozen=True)
class Core:
    """Hold a k-core: the users and tracks that remain."""

    users: DataFrame
    """user_idx."""
    tracks: DataFrame
    """track_idx."""
    n_users: int
    n_tracks: int
    rounds: int

    @property
    def empty(self) -> bool:
        """Return whether nothing remains."""
        return self.n_users == 0 or self.n_tracks == 0


class Reader(Protocol):
    """Read tables, as `JobRun.read` does."""

    def __call__(self, table: str) -> DataFrame:
        """Return the rows of a table."""
        ...


def played(
    read: Reader, batch_date: date, window_days: int | None, settings: ListeningSettings, staging: Staging
) -> DataFrame:
    """Return what a wmf run of a batch date factorises: user_idx, track_idx, play_count and times of the plays.

    That is the table `interactions`, or the same summed from the plays up to the date if newer plays have come, or from
    those of the last `window_days` days if that is given.

    Args:
        read: reads the tables plays, interactions, users and tracks.
        batch_date: the last batch.
        window_days: length of the window, which ends with the batch date; None for all plays.
        settings: the filters of interactions.
        staging: keeps what is summed.
    """
    plays = read("plays")
    if window_days is None and not has_newer_plays(plays, batch_date):
        return read("interactions")
    users, tracks = read("users"), read("tracks")
    summed = staging.keep(sum_plays(plays_until(plays, batch_date, window_days), users, tracks))
    found, _ = filtered(summed, users, tracks, settings, staging)
    return found if found is summed else staging.keep(found)


def plays_until(plays: DataFrame, batch_date: date, days: int | None = None) -> DataFrame:
    """Return the plays of the batches until a date; of the last `days` days only if that is given.

    A play without a time belongs to the day of the batch that counted it.

    Args:
        plays: rows of the table `plays`.
        batch_date: the last batch.
        days: length of the window, which ends with the batch date.
    """
    until = plays.where(F.col("batch_date") <= F.lit(batch_date))
    if days is None:
        return until
    day = F.coalesce(F.to_date("played_at"), F.col("counted_on"))
    return until.where(day > F.lit(batch_date - timedelta(days=days)))


def has_newer_plays(plays: DataFrame, batch_date: date) -> bool:
    """Tell if any batch after a date has brought plays."""
    newest = plays.agg(F.max("batch_date").alias("date")).first()
    return newest is not None and newest["date"] is not None and newest["date"] > batch_date


def sum_plays(plays: DataFrame, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return user_idx, track_idx, play_count, first_played_at, last_played_at: a row per user and track.

    Args:
        plays: user_id, track_id, play_count, played_at.
        users: user_id, user_idx.
        tracks: track_id, track_idx, alias_of; plays of an alias are plays of its track.
    """
    of_tracks = indices(tracks)
    if tracks.count() < _BROADCAST_IDS_BELOW:
        of_tracks = F.broadcast(of_tracks)
    indexed = plays.select("user_id", "track_id", "play_count", "played_at").join(of_tracks, "track_id", "inner")
    # One shuffle of plays: grouped by user_id too, the rows stay where the join has put them. Hashing the users of a
    # partition spares sorting its plays.
    summed = (
        indexed.join(users.hint("shuffle_hash"), "user_id", "inner")
        .groupBy("user_id", "user_idx", "track_idx")
        .agg(
            F.sum("play_count").alias("play_count"),
            F.min("played_at").alias("first_played_at"),
            F.max("played_at").alias("last_played_at"),
        )
    )
    return summed.drop("user_id")


def added(summed: DataFrame, new: DataFrame, staging: Staging) -> DataFrame:
    """Return summed plays with new ones added: the same as if all were summed together.

    The new rows are broadcast, so nothing is shuffled, and the summed ones are read twice.

    Args:
        summed: result of `sum_plays`; any number of rows.
        new: the same of plays that `summed` doesn't hold, staged; at most MOST_ADDED rows.
        staging: keeps the pairs in both.
    """
    pair = ["user_idx", "track_idx"]
    again = staging.keep(summed.select(pair).join(F.broadcast(new.select(pair)), pair, "left_semi"))
    more = new.toDF(*pair, "more", "first", "last")
    raised = summed.join(F.broadcast(more), pair, "left").select(
        *pair,
        (F.col("play_count") + F.coalesce("more", F.lit(0))).alias("play_count"),
        F.least("first_played_at", "first").alias("first_played_at"),
        F.greatest("last_played_at", "last").alias("last_played_at"),
    )
    return raised.unionByName(new.join(F.broadcast(again), pair, "left_anti"))


def k_core(pairs: DataFrame, per_user: int, per_track: int, staging: Staging) -> Core:
    """Find the largest set of users and tracks in which every user and every track has enough pairs.

    The caller stages the pairs; each round reads them again, and only the remaining ids are staged and joined.

    Args:
        pairs: user_idx, track_idx, distinct.
        per_user: least number of distinct tracks of a user.
        per_track: least number of distinct users of a track.
        staging: keeps each round's ids.
    """
    inside, users, tracks = pairs, None, None
    n_users = n_tracks = -1
    rounds = 0
    while True:
        rounds += 1
        before = n_users
        users, n_users = _enough(inside, "user_idx", per_user, staging)
        inside = _within(pairs, users, n_users, "user_idx")
        if tracks is not None:
            inside = _within(inside, tracks, n_tracks, "track_idx")
            if n_users == before:
                break  # the tracks were counted over the same users
        before = n_tracks
        tracks, n_tracks = _enough(inside, "track_idx", per_track, staging)
        inside = _within(inside, tracks, n_tracks, "track_idx")
        if n_tracks == before:
            break
    return Core(users, tracks, n_users, n_tracks, rounds)


def _enough(pairs: DataFrame, column: str, least: int, staging: Staging) -> tuple[DataFrame, int]:
    """Return the ids with at least `least` pairs, and their number."""
    ids = staging.keep(pairs.groupBy(column).count().where(F.col("count") >= least).select(column))
    return ids, ids.count()


def _within(pairs: DataFrame, ids: DataFrame, n_ids: int, column: str) -> DataFrame:
    return pairs.join(F.broadcast(ids) if n_ids < _BROADCAST_BELOW else ids, column, "left_semi")


def filtered(
    interactions: DataFrame, users: DataFrame, tracks: DataFrame, settings: ListeningSettings, staging: Staging
) -> tuple[DataFrame, int]:
    """Filter interactions by k-core, then samples, then the k-core again if anything was sampled.

    Args:
        interactions: user_idx, track_idx and more, staged.
        users: user_id, user_idx; samples are drawn by id, so the numbering has no effect.
        tracks: track_id, track_idx.
        settings: min_plays_per_user, min_plays_per_track, sample_users, max_tracks, seed.
        staging: keeps frames that are read several times.

    Returns:
        The remaining rows, and the number of rounds of the k-cores.

    Raises:
        InputMissingError: nothing remains; the message names the filter that removed the last rows.
    """
    if interactions.isEmpty():
        raise InputMissingError("no plays of known users and tracks, so there are no interactions")
    if keeps_all(settings.model_dump()):
        return interactions, 0
    least = (settings.min_plays_per_user, settings.min_plays_per_track)
    text = f"listening.min_plays_per_user={least[0]}, listening.min_plays_per_track={least[1]}"
    advice = "lower the minimums"
    rows, rounds = _cored(interactions, least, f"the k-core ({text}) leaves no interactions; {advice}", staging)
    samples = (
        ("user", settings.sample_users, "listening.sample_users", users),
        ("track", settings.max_tracks, "listening.max_tracks", tracks),
    )
    sampled = ""
    for kind, size, name, ids in samples:
        if size is not None:
            rows = staging.keep(sample(rows, ids, kind, size, settings.seed))
            sampled += f"{name}={size} and "
    if sampled:
        complaint = f"{sampled}the k-core after it ({text}) leave no interactions; {advice}, or raise the samples"
        rows, again = _cored(rows, least, complaint, staging)
        rounds += again
    return rows, rounds


def keeps_all(settings: Mapping[str, Any]) -> bool:
    """Tell if settings of `listening`, by name, filter no interaction."""
    return all(settings[name] == neutral for name, neutral in _NEUTRAL.items())


def unlike_plays(lake: Lake, graph: RunGraph) -> str | None:
    """Return why the newest `interactions` may not be the sum of the newest `plays`, of all of them; None if it is.

    Args:
        lake: the lake.
        graph: its runs.
    """
    last = next(iter(graph.newest(("ingest",))), None)
    if last is None or "interactions" not in last.outputs:
        return "no run before has summed them"
    if not keeps_all(ledger.whole(lake, last).settings["listening"]):
        return "listening.* filtered them before"
    versions, tables = {**last.inputs, **last.outputs}, ("plays", "interactions")
    if any(lake.changed_since(table, versions[table]) for table in tables):
        return "a table has changed since the last run"
    if any(lake.changed_by_others(table, last) for table in tables):
        return "a table has changed while the last run was at work"
    return None


def _cored(rows: DataFrame, least: tuple[int, int], complaint: str, staging: Staging) -> tuple[DataFrame, int]:
    if least == (1, 1):
        return rows, 0
    core = k_core(rows.select("user_idx", "track_idx"), *least, staging)
    if core.empty:
        raise InputMissingError(complaint)
    inside = _within(_within(rows, core.users, core.n_users, "user_idx"), core.tracks, core.n_tracks, "track_idx")
    return inside, core.rounds


def sample(rows: DataFrame, ids: DataFrame, kind: str, size: int, seed: int) -> DataFrame:
    """Return the rows of `size` users or tracks: the occurring ids with the smallest draws from (seed, id).

    Args:
        rows: rows with the column user_idx or track_idx.
        ids: user_id, user_idx or track_id, track_idx.
        kind: user or track.
        size: number of users or tracks to keep.
        seed: seed of the draw.
    """
    index, name = f"{kind}_idx", f"{kind}_id"
    there = ids.select(name, index).join(rows.select(index).distinct(), index, "left_semi")
    draw = uniform(seed, f"sample of {kind}s", id_key(F.col(name)))
    drawn = there.orderBy(draw, name).limit(size).select(index)
    return _within(rows, drawn, size, index)
