"""Test that splits depend on ids, seed and shares only."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from etude.config.evaluation import EvaluationSettings
from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.hashing import id_keys, uniforms
from etude.splits import play_splits, split_rows, track_splits, training_plays, year_cuts

TRACKS = 3000


def catalogue(spark, offset: int = 0):
    """Return tracks whose index depends on `offset`, so that the test detects a split by index."""
    rows = [
        (
            n * 7 + offset,
            f"TR{n}",
            None if n % 50 == 0 else f"AR{n % 300}",
            None if n % 3 == 0 else 1990 + n % 20,
        )
        for n in range(TRACKS)
    ]
    return small_frame(spark, rows, "track_idx int, track_id string, artist_id string, release_year int")


def by_id(splits, tracks) -> dict[str, str]:
    return dict(splits.join(tracks, "track_idx").select("track_id", "split").toPandas().values)


def test_tracks_are_split_by_id_only(spark):
    settings = EvaluationSettings(protocol="strict")
    tracks, renumbered = catalogue(spark), catalogue(spark, offset=5).repartition(7)
    found = by_id(track_splits(tracks, settings), tracks)
    assert found == by_id(track_splits(renumbered, settings), renumbered)
    draws = uniforms(1, "split by track", id_keys(found))
    expected = np.where(draws < 0.2, "test", np.where(draws < 0.2 + 0.1, "validation", "train"))
    assert list(found.values()) == list(expected)
    shares = Counter(found.values())
    assert abs(shares["test"] / TRACKS - 0.2) < 0.03
    assert abs(shares["validation"] / TRACKS - 0.1) < 0.03
    other = by_id(track_splits(tracks, EvaluationSettings(protocol="strict", seed=2)), tracks)
    assert other != found


def test_protocol_none_holds_out_the_same_validation_tracks_and_no_test_tracks(spark):
    tracks = catalogue(spark)
    strict = by_id(track_splits(tracks, EvaluationSettings(protocol="strict")), tracks)
    none = by_id(track_splits(tracks, EvaluationSettings(protocol="none")), tracks)
    assert set(none.values()) == {"train", "validation"}
    assert {t for t, s in none.items() if s == "validation"} == {t for t, s in strict.items() if s == "validation"}


def test_by_artist_all_tracks_of_an_artist_have_one_split(spark):
    tracks = catalogue(spark)
    found = track_splits(tracks, EvaluationSettings(protocol="strict", track_split="artist")).join(tracks, "track_idx")
    of_artist = found.groupBy("artist_id").agg(F.count_distinct("split").alias("sides")).toPandas()
    assert (of_artist[of_artist.artist_id.notna()].sides == 1).all()
    assert (of_artist[of_artist.artist_id.isna()].sides == 3).all()  # a track without a known artist is split by itself
    assert set(found.toPandas().split) == {"train", "validation", "test"}


def test_by_release_year_the_newest_are_held_out(spark):
    settings = EvaluationSettings(protocol="strict", track_split="release_year")
    found = track_splits(catalogue(spark), settings).join(catalogue(spark), "track_idx").toPandas()
    assert set(found[found.release_year.isna()].split) == {"train"}
    known = found[found.release_year.notna()]
    years = known.groupby("split").release_year.agg(["min", "max", "size"])
    assert years["min"]["test"] >= years["max"]["validation"] >= years["min"]["validation"] >= years["max"]["train"]
    assert abs(years["size"]["test"] / len(known) - 0.2) < 0.03
    assert abs(years["size"]["validation"] / len(known) - 0.1) < 0.03


@given(
    st.dictionaries(st.integers(1950, 2025), st.integers(1, 500), min_size=1, max_size=30),
    st.floats(0, 0.49),
    st.floats(0, 0.49),
)
def test_year_cuts_hold_exactly_the_shares(sizes, test, validation):
    cuts = year_cuts(sizes, test, validation)
    total = sum(sizes.values())
    assert sum(sizes[y] * cuts[y][0] for y in sizes) == pytest.approx(test * total, abs=1e-6)
    assert sum(sizes[y] * cuts[y][1] for y in sizes) == pytest.approx((test + validation) * total, abs=1e-6)
    newest_first = [cuts[y] for y in sorted(sizes, reverse=True)]
    assert newest_first == sorted(newest_first, reverse=True)


def listening(spark, timed: bool = False):
    """Return plays: user n has n + 1 interactions, with random tracks in random order."""
    random = np.random.default_rng(3)
    pairs = [(n, int(t)) for n in range(30) for t in random.choice(40, n + 1, replace=False)]
    hours = random.permutation(len(pairs))
    times = [datetime(2020, 1, 1) + timedelta(hours=int(h)) if timed else None for h in hours]
    plays = small_frame(
        spark,
        [(*pair, time) for pair, time in zip(pairs, times, strict=True)],
        "user_idx int, track_idx int, first_played_at timestamp",
    )
    users = small_frame(spark, [(n, f"u{n}") for n in range(30)], "user_idx int, user_id string")
    tracks = small_frame(spark, [(n, f"t{n}") for n in range(40)], "track_idx int, track_id string")
    return plays, users, tracks, pd.DataFrame(pairs, columns=["user_idx", "track_idx"]).assign(first_played_at=times)


def held_out(splits) -> dict[tuple[int, int], str]:
    return {(row.user_idx, row.track_idx): row.split for row in splits.collect()}


def test_an_evaluation_by_year_needs_years(spark):
    """Without years no track is held out: an evaluation is refused, a run with protocol none trains on all tracks."""
    tracks = catalogue(spark).limit(5).withColumn("release_year", F.lit(None).cast("int"))
    with pytest.raises(DataCheckError, match="no track with plays has a release year"):
        track_splits(tracks, EvaluationSettings(protocol="strict", track_split="release_year"))
    found = track_splits(tracks, EvaluationSettings(protocol="none", track_split="release_year"))
    assert {row.split for row in found.collect()} == {"train"}


@pytest.mark.parametrize(("test", "validation"), [(0.2, 0.1), (0.49, 0.49), (0.0, 0.3), (0.1, 0.0)])
def test_every_user_gives_the_rounded_share_and_keeps_a_training_play(spark, test, validation):
    settings = EvaluationSettings(protocol="strict", test_plays=test, validation_plays=validation)
    plays, users, tracks, _ = listening(spark)
    found = held_out(play_splits(plays, users, tracks, settings))
    counts = Counter((user, split) for (user, _), split in found.items())
    for user in range(30):
        n = user + 1
        expected_test = min(int(n * test + 0.5), n - 1)
        assert counts[user, "test"] == expected_test
        assert counts[user, "validation"] == min(int(n * validation + 0.5), n - 1 - expected_test)
        assert n - counts[user, "test"] - counts[user, "validation"] >= 1


def test_held_out_plays_depend_on_ids_only(spark):
    plays, users, tracks, _ = listening(spark)
    settings = EvaluationSettings(protocol="strict")
    found = held_out(play_splits(plays, users, tracks, settings))
    moved = [
        frame.repartition(5).withColumn(column, F.col(column) + 100)
        for frame, column in ((users, "user_idx"), (tracks, "track_idx"))
    ]
    renumbered = plays.repartition(6).select(
        (F.col("user_idx") + 100).alias("user_idx"), (F.col("track_idx") + 100).alias("track_idx"), "first_played_at"
    )
    again = held_out(play_splits(renumbered, *moved, settings))
    assert again == {(user + 100, track + 100): split for (user, track), split in found.items()}


def test_by_time_the_newest_first_plays_are_held_out(spark):
    plays, users, tracks, in_memory = listening(spark, timed=True)
    settings = EvaluationSettings(protocol="strict", play_split="time")
    found = held_out(play_splits(plays, users, tracks, settings))
    splits = [found.get((u, t), "train") for u, t in zip(in_memory.user_idx, in_memory.track_idx, strict=True)]
    spans = in_memory.assign(split=splits).groupby(["user_idx", "split"]).first_played_at.agg(["min", "max"])
    for user in range(5, 30):
        of_user = spans.loc[user]
        assert of_user["max"]["train"] < of_user["min"]["validation"] <= of_user["max"]["validation"]
        assert of_user["max"]["validation"] < of_user["min"]["test"]


def test_by_time_needs_times(spark):
    plays, users, tracks, _ = listening(spark)
    with pytest.raises(DataCheckError, match="play_split=time"):
        play_splits(plays, users, tracks, EvaluationSettings(protocol="strict", play_split="time"))


def test_rows_of_the_splits_table(spark):
    tracks = small_frame(spark, [(1, "train"), (2, "test")], "track_idx int, split string")
    plays = small_frame(spark, [(5, 1, "test")], "user_idx int, track_idx int, split string")
    rows = {tuple(row) for row in split_rows(tracks, plays).collect()}
    assert rows == {("track", 1, -1, "train"), ("track", 2, -1, "test"), ("play", 1, 5, "test")}
    assert split_rows(tracks, None).count() == 2


def test_training_plays_are_those_that_the_protocol_does_not_withhold(spark):
    plays = [(u, t, 1 + u + t) for u in range(3) for t in range(5)]
    rows = [("track", t, -1, split) for t, split in enumerate(("train", "train", "train", "validation", "test"))]
    rows += [("play", 0, 0, "test"), ("play", 1, 0, "validation"), ("play", 2, 1, "test")]
    interactions = small_frame(spark, plays, "user_idx int, track_idx int, play_count bigint")
    splits = small_frame(spark, rows, "kind string, track_idx int, user_idx int, split string")

    def found(protocol):
        return sorted((row[0], row[1]) for row in training_plays(interactions, splits, protocol).collect())

    everything = [(u, t) for u, t, _ in plays]
    assert found("none") == found("paper") == everything
    held = {(0, 0), (0, 1), (1, 2)}
    assert found("strict") == [(u, t) for u, t in everything if t < 3 and (u, t) not in held]
