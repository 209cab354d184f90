"""Split tracks and plays into train, validation and test, by pure functions of (evaluation.seed, id).

- Tracks: each track (or artist) draws a number in [0, 1). A draw below `test_tracks` makes it a test track, a draw
  below `test_tracks` + `validation_tracks` a validation track. By release year the newest years are held out instead;
  in a year that a share only partly covers, the draw decides. The shares are of the tracks with a known year; tracks
  without one train. New tracks never change another track's split (by year they can).
- Plays: of a user with n interactions round(test_plays n) are test and round(validation_plays n) validation, in the
  order of a draw from (user, track), or by first_played_at, newest first. At least one interaction trains. Test has
  priority over validation. A user with too few interactions for either has none, and is not in the warm metrics.

Protocols: `none` has validation tracks only, the same as strict; train uses them for early stopping, and wmf still uses
their plays. `paper` splits tracks and withholds nothing from wmf. `strict` withholds all plays of validation and test
tracks, and splits the plays of the other tracks, so a held-out play is always of a training track.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.config.evaluation import EvaluationSettings
from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.hashing import id_key, uniform

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def track_splits(tracks: DataFrame, settings: EvaluationSettings) -> DataFrame:
    """Return track_idx, split (train, validation or test) of every row.

    Args:
        tracks: a row per track: track_idx, track_id, artist_id and release_year (nullable).
        settings: protocol, seed, track_split and the shares.

    Raises:
        DataCheckError: an evaluation splits by year, and no year is known.
    """
    own = F.col("track_id")
    unit = F.coalesce(F.col("artist_id"), F.concat(F.lit("track:"), own)) if settings.track_split == "artist" else own
    drawn = tracks.withColumn("draw", uniform(settings.seed, f"split by {settings.track_split}", id_key(unit)))
    test_below, held_below = F.lit(settings.test_tracks), F.lit(settings.test_tracks + settings.validation_tracks)
    if settings.track_split == "release_year":
        drawn = drawn.join(_year_cuts(tracks, settings), "release_year", "left")
        test_below, held_below = F.col("test_below"), F.col("held_below")
    test = F.lit(TRAIN if settings.protocol == "none" else TEST)
    split = F.when(F.col("draw") < test_below, test).when(F.col("draw") < held_below, VALIDATION).otherwise(TRAIN)
    return drawn.select("track_idx", split.alias("split"))


def splits_of(played: DataFrame, tracks: DataFrame, settings: EvaluationSettings) -> DataFrame:
    """Return `track_splits` of the tracks in `played` (track_idx); a track without plays has no split."""
    return track_splits(tracks.join(played, "track_idx", "left_semi"), settings)


def _year_cuts(tracks: DataFrame, settings: EvaluationSettings) -> DataFrame:
    """Return release_year, test_below, held_below: the newest years take the shares of tracks with a known year."""
    known = tracks.where(F.col("release_year").isNotNull()).groupBy("release_year").count()
    if known.isEmpty() and settings.protocol != "none":
        raise DataCheckError(
            "evaluation.track_split=release_year: no track with plays has a release year, so none is held out; "
            "map catalogue columns to release_year, or use track_split=track"
        )
    cuts = year_cuts(
        {row["release_year"]: row["count"] for row in known.collect()},  # a row per year
        settings.test_tracks,
        settings.validation_tracks,
    )
    rows = [(year, *cut) for year, cut in cuts.items()]
    return F.broadcast(small_frame(tracks.sparkSession, rows, "release_year int, test_below double, held_below double"))


def year_cuts(tracks_by_year: dict[int, int], test: float, validation: float) -> dict[int, tuple[float, float]]:
    """Return for each year the draws below which its tracks are test, and test or validation; newest years first.

    >>> year_cuts({2000: 50, 2010: 50}, test=0.25, validation=0.5)
    {2010: (0.5, 1.0), 2000: (0.0, 0.5)}
    """
    total = sum(tracks_by_year.values())
    cuts, newer = {}, 0
    for year in sorted(tracks_by_year, reverse=True):
        size = tracks_by_year[year]
        shares = [(share * total - newer) / size for share in (test, test + validation)]
        cuts[year] = (min(max(shares[0], 0.0), 1.0), min(max(shares[1], 0.0), 1.0))
        newer += size
    return cuts


def play_splits(
    interactions: DataFrame, users: DataFrame, tracks: DataFrame, settings: EvaluationSettings
) -> DataFrame:
    """Return user_idx, track_idx, split of the held-out interactions (validation and test rows only).

    Args:
        interactions: user_idx, track_idx, first_played_at.
        users: user_idx, user_id.
        tracks: track_idx, track_id.
        settings: seed, play_split and the shares.

    Raises:
        DataCheckError: play_split is time, and no interaction has a time.
    """
    by_time = settings.play_split == "time"
    if by_time and interactions.where(F.col("first_played_at").isNotNull()).isEmpty():
        raise DataCheckError("evaluation.play_split=time: no interaction has a time; use random")
    keyed = (
        interactions.select("user_idx", "track_idx", "first_played_at")
        .join(users.select("user_idx", id_key(F.col("user_id")).alias("user_key")), "user_idx")
        .join(tracks.select("track_idx", id_key(F.col("track_id")).alias("track_key")), "track_idx")
    )
    draw = uniform(settings.seed, "split of plays", F.col("user_key"), F.col("track_key"))
    order = [draw, F.col("track_key")]
    if by_time:
        order.insert(0, F.col("first_played_at").desc_nulls_last())
    of_user = Window.partitionBy("user_idx")
    every = Window.unboundedPreceding, Window.unboundedFollowing
    ranked = keyed.select(
        "user_idx",
        "track_idx",
        F.row_number().over(of_user.orderBy(*order)).alias("place"),
        F.count(F.lit(1)).over(of_user.rowsBetween(*every)).alias("n"),
    )
    test, held = _held_out_counts(F.col("n"), settings)
    split = F.when(F.col("place") <= test, TEST).when(F.col("place") <= held, VALIDATION)
    return ranked.select("user_idx", "track_idx", split.alias("split")).where(F.col("split").isNotNull())


def _held_out_counts(n: Column, settings: EvaluationSettings) -> tuple[Column, Column]:
    """Return the numbers of a user's n interactions that are test, and test or validation."""

    def rounded(share: float) -> Column:
        return F.floor(n * F.lit(share) + F.lit(0.5))

    test = F.least(rounded(settings.test_plays), n - 1)
    return test, F.least(test + rounded(settings.validation_plays), n - 1)


def split_rows(tracks: DataFrame, plays: DataFrame | None) -> DataFrame:
    """Return track splits and held-out plays as rows of the `splits` table, without run_id."""
    columns = ("kind", "track_idx", "user_idx", "split")
    rows = tracks.select(F.lit("track").alias("kind"), "track_idx", F.lit(-1).alias("user_idx"), "split")
    if plays is None:
        return rows
    return rows.unionByName(plays.select(F.lit("play").alias("kind"), *columns[1:]))


@dataclass(frozen=True)
class Split:
    """Hold interactions after the split; `training` and `withheld` have the columns of the given interactions."""

    rows: DataFrame | None
    """Rows of the `splits` table, without run_id; None if nothing depends on them before the fit (protocol none)."""
    training: DataFrame
    """Interactions that wmf fits."""
    withheld: DataFrame | None
    """All interactions of validation and test tracks (protocol strict), otherwise None."""


def split_interactions(
    interactions: DataFrame,
    users: DataFrame,
    tracks: DataFrame,
    settings: EvaluationSettings,
    keep: Callable[[DataFrame], DataFrame],
) -> Split:
    """Split interactions by the protocol; `none` withholds nothing, and costs nothing here.

    Args:
        interactions: rows of `interactions`.
        users: rows of `users`.
        tracks: rows of `tracks`; tracks without interactions get no split.
        settings: evaluation settings.
        keep: computes a frame once that is read several times.

    Raises:
        DataCheckError: see `track_splits` and `play_splits`.
    """
    if settings.protocol == "none":
        return Split(None, interactions, None)
    of_track = keep(splits_of(interactions.select("track_idx").distinct(), tracks, settings))
    if settings.protocol == "paper":
        return Split(split_rows(of_track, None), interactions, None)
    is_train = F.col("split") == TRAIN
    warm = interactions.join(of_track.where(is_train), "track_idx", "left_semi")
    withheld = interactions.join(of_track.where(~is_train), "track_idx", "left_semi")
    of_play = keep(play_splits(warm, users, tracks, settings))
    training = keep(warm.join(of_play, ["user_idx", "track_idx"], "left_anti"))
    return Split(split_rows(of_track, of_play), training, withheld)


def training_plays(interactions: DataFrame, splits: DataFrame, protocol: str) -> DataFrame:
    """Return the interactions that the factors were fitted to, with all their columns.

    Protocols none and paper withhold nothing; strict withholds listed plays and all plays of held-out tracks.
    """
    if protocol != "strict":
        return interactions
    held_plays = splits.where("kind = 'play'").select("user_idx", "track_idx")
    held_tracks = splits.where("kind = 'track' AND split <> 'train'").select("track_idx")
    warm = interactions.join(held_tracks, "track_idx", "left_anti")
    return warm.join(held_plays, ["user_idx", "track_idx"], "left_anti")
