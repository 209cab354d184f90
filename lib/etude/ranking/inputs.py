"""Select the inputs of a ranking from the lake: relevant plays, heard plays, and facts of tracks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.ranking.neighbours import Neighbours, neighbour_models
from etude.search.candidates import Ints, Longs
from etude.tracks import indices
from etude.vectors import SizeLimit

SPLITS = ("", "train", "validation", "test")
"""Names of the splits; `TrackFacts.split` holds positions in this tuple."""


@dataclass(frozen=True)
class TrackFacts:
    """Hold the facts of every track, by track index.

    Attributes:
        plays: (T,) int64 training plays.
        listeners: (T,) int64 users with training plays.
        artist: (T,) int64, the same number for the same artist; 0 = unknown.
        split: (T,) uint8, a position in SPLITS.
        alias: (T,) bool, whether the index is that of an alias, which is no candidate.
    """

    plays: Longs
    listeners: Longs
    artist: Longs
    split: npt.NDArray[np.uint8]
    alias: npt.NDArray[np.bool_]

    def of_split(self, name: str) -> Ints:
        """Return the indices of the split's tracks, ascending int32."""
        return np.flatnonzero(self.split == SPLITS.index(name)).astype(np.int32)


def heard_plays(plays: DataFrame, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return user_idx, track_idx of all plays, including those that the filters of interactions removed.

    Args:
        plays: user_id, track_id.
        users: user_id, user_idx.
        tracks: track_id, track_idx, alias_of; who heard an alias has heard its track.
    """
    pairs = plays.select("user_id", "track_id").distinct()
    indexed = pairs.join(users.select("user_id", "user_idx"), "user_id")
    return indexed.join(indices(tracks), "track_id").select("user_idx", "track_idx")


def relevant_plays(interactions: DataFrame, splits: DataFrame, split: str) -> DataFrame:
    """Return user_idx, track_idx of a split's plays: those that are listed, and all plays of the split's tracks."""
    mine = splits.where(F.col("split") == split)
    tracks = mine.where("kind = 'track'").select("track_idx")
    of_tracks = interactions.join(tracks, "track_idx").select("user_idx", "track_idx")
    return mine.where("kind = 'play'").select("user_idx", "track_idx").union(of_tracks).distinct()


def track_facts(tracks: DataFrame, training: DataFrame, splits: DataFrame) -> TrackFacts:
    """Collect one row per track: a few numbers each, fewer bytes than the candidates' factors.

    Args:
        tracks: track_idx, artist_id, alias_of.
        training: track_idx, play_count; one row per user and track.
        splits: the rows of `splits`.
    """
    played = training.groupBy("track_idx").agg(F.sum("play_count").alias("plays"), F.count("*").alias("listeners"))
    place = F.array_position(F.array(*(F.lit(name) for name in SPLITS)), F.col("split")) - 1
    roles = splits.where("kind = 'track'").select("track_idx", place.cast("tinyint").alias("split"))
    rows = (
        tracks.join(played, "track_idx", "left")
        .join(roles, "track_idx", "left")
        .select(
            "track_idx",
            *(F.coalesce(name, F.lit(0)).alias(name) for name in ("plays", "listeners")),
            F.when(F.col("artist_id").isNotNull(), F.xxhash64("artist_id")).otherwise(0).alias("artist"),
            F.coalesce("split", F.lit(0)).alias("split"),
            F.col("alias_of").isNotNull().alias("alias"),
        )
        .toArrow()
    )
    track_idx = rows.column("track_idx").to_numpy()
    size = int(track_idx.max(initial=-1)) + 1
    plays, listeners, artist = (np.zeros(size, np.int64) for _ in range(3))
    facts = TrackFacts(plays, listeners, artist, np.zeros(size, np.uint8), np.zeros(size, np.bool_))
    for field in fields(TrackFacts):
        getattr(facts, field.name)[track_idx] = rows.column(field.name).to_numpy(zero_copy_only=False)
    return facts


_MOST_PRODUCTS = 2e12
"""Most products of a user's plays and similarities that neighbours may cost: about a minute of a processor's core."""


def neighbours_of(
    users: int,
    training: DataFrame,
    splits: DataFrame,
    tracks: Ints,
    evaluation: EvaluationSettings,
    log: logging.Logger,
) -> dict[str, Neighbours]:
    """Return the models that rank the warm tracks by what users have heard; none, with a line in the log, if too many.

    Args:
        users: number of users.
        training: user_idx, track_idx of training plays.
        splits: of the wmf run.
        tracks: the warm tracks, ascending.
        evaluation: settings with the largest number of tracks.
        log: for the line.
    """
    if len(tracks) > evaluation.neighbour_tracks or users * len(tracks) ** 2 > _MOST_PRODUCTS:
        log.info(
            "item-kNN and EASE are not measured: users=%d tracks=%d evaluation.neighbour_tracks=%d",
            *(users, len(tracks), evaluation.neighbour_tracks),
        )
        return {}
    withheld = splits.where("kind = 'play' AND split = 'validation'")
    known, asked = (
        np.stack([column.to_numpy() for column in frame.select("user_idx", "track_idx").toArrow().columns], axis=1)
        for frame in (training, withheld)
    )
    return neighbour_models(known, asked, tracks) if len(known) else {}


_ID_BYTES = 64
"""About the size of a track's index and id, which are broadcast with the factors for the lists."""


def size_limit(settings: TopnSettings) -> SizeLimit:
    """Return the limit of the candidates' factors and ids, which every task receives."""
    return SizeLimit(
        settings.broadcast_mb,
        "topn.broadcast_mb",
        "every Python worker holds a copy; give the workers the memory and raise it, or lower wmf.rank",
        extra_bytes=_ID_BYTES,
    )
