"""Select the inputs of a ranking from the lake: relevant plays, heard plays, and facts of tracks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.errors import SettingsError
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
        listable: (T,) bool, whether the track may be listed: no alias, and as topn.candidates asks.
    """

    plays: Longs
    listeners: Longs
    artist: Longs
    split: npt.NDArray[np.uint8]
    listable: npt.NDArray[np.bool_]

    def of_split(self, name: str) -> Ints:
        """Return the indices of the split's tracks, ascending int32."""
        return np.flatnonzero(self.split == SPLITS.index(name)).astype(np.int32)


def heard_plays(plays: DataFrame, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return user_idx, track_idx of all plays, distinct, including those that the filters of interactions removed.

    Args:
        plays: user_id, track_id.
        users: user_id, user_idx.
        tracks: track_id, track_idx, alias_of; who heard an alias has heard its track.
    """
    pairs = plays.select("user_id", "track_id").distinct()
    indexed = pairs.join(users.select("user_id", "user_idx"), "user_id").join(indices(tracks), "track_id")
    return indexed.select("user_idx", "track_idx").distinct()  # a track and its alias are one


def recent(training: DataFrame, batch_date: date, days: int) -> DataFrame:
    """Return user_idx, track_idx of interactions whose last play was in the last days until a date, or has no time.

    Args:
        training: user_idx, track_idx, last_played_at.
        batch_date: the last of the days.
        days: their number.
    """
    day = F.to_date("last_played_at")
    late = day.isNull() | (day > F.lit(batch_date - timedelta(days=days)))
    return training.where(late).select("user_idx", "track_idx")


def relevant_plays(interactions: DataFrame, splits: DataFrame, split: str) -> DataFrame:
    """Return user_idx, track_idx of a split's plays: those that are listed, and all plays of the split's tracks."""
    mine = splits.where(F.col("split") == split)
    tracks = mine.where("kind = 'track'").select("track_idx")
    of_tracks = interactions.join(tracks, "track_idx").select("user_idx", "track_idx")
    return mine.where("kind = 'play'").select("user_idx", "track_idx").union(of_tracks).distinct()


def track_facts(
    tracks: DataFrame,
    training: DataFrame,
    splits: DataFrame,
    candidates: str | None = None,
    refused: DataFrame | None = None,
) -> TrackFacts:
    """Collect one row per track: a few numbers each, fewer bytes than the candidates' factors.

    Args:
        tracks: rows of `tracks`.
        training: track_idx, play_count; one row per user and track.
        splits: the rows of `splits`.
        candidates: condition in Spark SQL on the columns of `tracks`; None admits all tracks.
        refused: track_idx of tracks that may not be listed, distinct; None for none.

    Raises:
        SettingsError: see `_condition`.
    """
    admitted = F.lit(True) if candidates is None else _condition(tracks, candidates)
    judged = tracks.withColumn("listable", F.col("alias_of").isNull() & admitted)
    if refused is not None:
        marked = refused.select("track_idx", F.lit(True).alias("refused"))
        judged = judged.join(marked, "track_idx", "left").withColumn(
            "listable", F.col("listable") & F.col("refused").isNull()
        )
    played = training.groupBy("track_idx").agg(F.sum("play_count").alias("plays"), F.count("*").alias("listeners"))
    place = F.array_position(F.array(*(F.lit(name) for name in SPLITS)), F.col("split")) - 1
    roles = splits.where("kind = 'track'").select("track_idx", place.cast("tinyint").alias("split"))
    rows = (
        judged.join(played, "track_idx", "left")
        .join(roles, "track_idx", "left")
        .select(
            "track_idx",
            *(F.coalesce(name, F.lit(0)).alias(name) for name in ("plays", "listeners")),
            F.when(F.col("artist_id").isNotNull(), F.xxhash64("artist_id")).otherwise(0).alias("artist"),
            F.coalesce("split", F.lit(0)).alias("split"),
            "listable",
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


def _condition(tracks: DataFrame, text: str) -> Column:
    """Return whether a row of `tracks` fulfils topn.candidates; a null is a no.

    Raises:
        SettingsError: the text is no SQL, no condition, or names a column that there isn't.
    """
    try:
        kind = tracks.select(F.expr(text).alias("it")).schema["it"].dataType
    except AnalysisException as error:
        told = " ".join(str(error).split("\n", 1)[0].split())
        raise SettingsError(
            f"topn.candidates={text!r}: {told}; expected a condition in Spark SQL on `tracks`"
        ) from error
    if kind != BooleanType():
        raise SettingsError(
            f"topn.candidates={text!r}: this is of type {kind.simpleString()}; expected a condition, such as "
            "release_year >= 2020"
        )
    return F.coalesce(F.expr(text), F.lit(False))


_MOST_PAIRS = 50_000_000
"""Most training plays that neighbours read on the driver: 400 MB."""
_MOST_PRODUCTS = 2e12
"""Most products of a user's plays and similarities that neighbours may cost: about a minute of a processor's core."""


def neighbours_of(
    users: int,
    pairs: int,
    training: DataFrame,
    splits: DataFrame,
    tracks: Ints,
    evaluation: EvaluationSettings,
    log: logging.Logger,
) -> dict[str, Neighbours]:
    """Return the models that rank the warm tracks by what users have heard; none, with a line in the log, if too many.

    Args:
        users: number of users.
        pairs: number of training plays.
        training: user_idx, track_idx of training plays.
        splits: of the wmf run.
        tracks: the warm tracks, ascending.
        evaluation: settings with the largest number of tracks.
        log: for the line.
    """
    too_many = pairs > _MOST_PAIRS or users * len(tracks) ** 2 > _MOST_PRODUCTS
    if len(tracks) > evaluation.neighbour_tracks or too_many:
        log.info(
            "item-kNN and EASE are not measured: users=%d pairs=%d tracks=%d evaluation.neighbour_tracks=%d",
            *(users, pairs, len(tracks), evaluation.neighbour_tracks),
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
