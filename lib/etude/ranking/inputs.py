"""From the lake's rows to what ranking needs: plays that count, plays to be found again, and factors as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError
from etude.ranking.candidates import Floats, Ints, Longs

SPLITS = ("", "train", "validation", "test")
"""What the numbers of `TrackFacts.split` mean: places here."""


@dataclass(frozen=True)
class Factors:
    """tracks (N,) int32, ascending, and their factors (N, rank) float32."""

    tracks: Ints
    rows: Floats

    def among(self, wanted: Ints) -> Factors:
        """The factors of those of the wanted tracks that have any."""
        return self.where(np.isin(self.tracks, wanted))

    def where(self, mask: npt.NDArray[np.bool_]) -> Factors:
        """The rows where the (N,) mask is true."""
        return Factors(self.tracks[mask], self.rows[mask])

    def scaled(self, by: float) -> Factors:
        """All factors `by` times as long."""
        return Factors(self.tracks, self.rows * np.float32(by))


@dataclass(frozen=True)
class TrackFacts:
    """What is known of every track, by track index.

    Attributes:
        plays: (T,) int64 training plays.
        artist: (T,) int64, the same number for the same artist; 0 = unknown.
        split: (T,) uint8, a place in SPLITS.
    """

    plays: Longs
    artist: Longs
    split: npt.NDArray[np.uint8]

    def of_split(self, name: str) -> Ints:
        """Indices of the split's tracks."""
        return np.flatnonzero(self.split == SPLITS.index(name)).astype(np.int32)


def training_plays(interactions: DataFrame, splits: DataFrame, protocol: str) -> DataFrame:
    """user_idx, track_idx, play_count that the factors were fitted to.

    Protocols none and paper withhold nothing; strict withholds listed plays and all plays of held-out tracks.
    """
    plays = interactions.select("user_idx", "track_idx", "play_count")
    if protocol != "strict":
        return plays
    held_plays = splits.where("kind = 'play'").select("user_idx", "track_idx")
    held_tracks = splits.where("kind = 'track' AND split <> 'train'").select("track_idx")
    return plays.join(held_plays, ["user_idx", "track_idx"], "left_anti").join(held_tracks, "track_idx", "left_anti")


def heard_plays(plays: DataFrame, users: DataFrame, tracks: DataFrame) -> DataFrame:
    """user_idx, track_idx of everything that anybody has played: what the filters of interactions took out, too.

    Args:
        plays: user_id, track_id.
        users: user_id, user_idx.
        tracks: track_id, track_idx.
    """
    pairs = plays.select("user_id", "track_id").distinct()
    indexed = pairs.join(users.select("user_id", "user_idx"), "user_id")
    return indexed.join(tracks.select("track_id", "track_idx"), "track_id").select("user_idx", "track_idx")


def relevant_plays(interactions: DataFrame, splits: DataFrame) -> DataFrame:
    """user_idx, track_idx of test plays: listed ones, and all plays of test tracks. Validation is for choosing only."""
    tracks = splits.where("kind = 'track' AND split = 'test'").select("track_idx")
    of_tracks = interactions.join(tracks, "track_idx").select("user_idx", "track_idx")
    return splits.where("kind = 'play' AND split = 'test'").select("user_idx", "track_idx").union(of_tracks).distinct()


def track_facts(tracks: DataFrame, training: DataFrame, splits: DataFrame) -> TrackFacts:
    """Collect one row a track: a few numbers each, fewer bytes than the candidates' factors.

    Args:
        tracks: track_idx, artist_id.
        training: track_idx, play_count.
        splits: the rows of `splits`.
    """
    plays = training.groupBy("track_idx").agg(F.sum("play_count").alias("plays"))
    place = F.array_position(F.array(*(F.lit(name) for name in SPLITS)), F.col("split")) - 1
    roles = splits.where("kind = 'track'").select("track_idx", place.cast("tinyint").alias("split"))
    rows = (
        tracks.join(plays, "track_idx", "left")
        .join(roles, "track_idx", "left")
        .select(
            "track_idx",
            F.coalesce("plays", F.lit(0)).alias("plays"),
            F.when(F.col("artist_id").isNotNull(), F.xxhash64("artist_id")).otherwise(0).alias("artist"),
            F.coalesce("split", F.lit(0)).alias("split"),
        )
        .toArrow()
    )
    track_idx = rows.column("track_idx").to_numpy()
    size = int(track_idx.max(initial=-1)) + 1
    facts = TrackFacts(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.uint8))
    facts.plays[track_idx] = rows.column("plays").to_numpy()
    facts.artist[track_idx] = rows.column("artist").to_numpy()
    facts.split[track_idx] = rows.column("split").to_numpy()
    return facts


@dataclass(frozen=True)
class Size:
    """How many rows of factors a frame has, and their length (0 where there are none)."""

    rows: int
    rank: int

    @staticmethod
    def of(frame: DataFrame) -> Size:
        """Look at every row's length.

        Raises:
            DataCheckError: lengths differ.
        """
        length = F.size("factors")
        row = frame.agg(F.count(F.lit(1)), F.min(length), F.max(length)).first()
        rows, shortest, longest = row or (0, None, None)
        if shortest != longest:
            raise DataCheckError(f"factors of one run have {shortest} to {longest} numbers")
        return Size(rows, longest or 0)


_ID_BYTES = 64
"""About what an index and an id of a track take where they are broadcast for the lists."""


def check_size(sizes: list[Size], limit_mb: int) -> None:
    """See that the candidates' factors and ids may be sent to every worker; before they are collected.

    Raises:
        DataCheckError: they are larger than the limit.
    """
    rows, total = sum(size.rows for size in sizes), sum(size.rows * (4 * size.rank + _ID_BYTES) for size in sizes)
    if total > limit_mb * 2**20:
        raise DataCheckError(
            f"{rows} rows of track factors and ids are {total / 2**20:.0f} MB, more than "
            f"topn.broadcast_mb={limit_mb}; every Python worker would hold a copy: give them the memory and raise it, "
            "or lower wmf.rank"
        )


def collect_factors(frame: DataFrame) -> tuple[Factors, npt.NDArray[np.bool_]]:
    """The rows (track_idx, factors, held_out boolean) as arrays on the driver, and which of them are held out.

    Raises:
        DataCheckError: factors that aren't finite, or of a track twice.
    """
    table = frame.select("track_idx", "factors", "held_out").toArrow().sort_by("track_idx")
    tracks = table.column("track_idx").to_numpy().astype(np.int32)
    numbers = table.column("factors").combine_chunks().flatten().to_numpy()
    rows = numbers.reshape(len(tracks), -1) if len(tracks) else np.empty((0, 0), np.float32)
    if not np.isfinite(rows).all():
        raise DataCheckError("track factors that aren't finite")
    if (np.diff(tracks) == 0).any():
        raise DataCheckError("two rows of factors for one track")
    return Factors(tracks, rows), table.column("held_out").to_numpy()
