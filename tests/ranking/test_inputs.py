"""Test the selection of training, heard and relevant plays, the facts of tracks, and the size limit."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pytest

from etude.config.topn import TopnSettings
from etude.errors import DataCheckError, SettingsError
from etude.frames import small_frame
from etude.ranking import inputs
from etude.splits import training_plays

PLAYS = [(u, t, 1 + u + t) for u in range(3) for t in range(5)]


@pytest.fixture(scope="module")
def tables(spark):
    interactions = small_frame(spark, PLAYS, "user_idx int, track_idx int, play_count bigint")
    rows = [("track", t, -1, split) for t, split in enumerate(("train", "train", "train", "validation", "test"))]
    rows += [("play", 0, 0, "test"), ("play", 1, 0, "validation"), ("play", 2, 1, "test")]
    return interactions, small_frame(spark, rows, "kind string, track_idx int, user_idx int, split string")


def pairs(frame):
    return sorted((row["user_idx"], row["track_idx"]) for row in frame.collect())


def test_heard_plays_include_those_that_interactions_lack(spark):
    """U is an alias of T."""
    plays = small_frame(
        spark,
        [("a", "S"), ("a", "S"), ("a", "T"), ("a", "U"), ("b", "S"), ("b", "U")],
        "user_id string, track_id string",
    )
    users = small_frame(spark, [("b", 0), ("a", 1), ("c", 2)], "user_id string, user_idx int")
    tracks = small_frame(
        spark, [("S", 5, None), ("T", 3, None), ("U", 4, "T")], "track_id string, track_idx int, alias_of string"
    )
    assert pairs(inputs.heard_plays(plays, users, tracks)) == [(0, 3), (0, 5), (1, 3), (1, 5)]


def test_relevant_plays_are_test_plays_and_plays_of_test_tracks(tables):
    assert pairs(inputs.relevant_plays(*tables, "test")) == [(0, 0), (0, 4), (1, 2), (1, 4), (2, 4)]
    assert pairs(inputs.relevant_plays(*tables, "validation")) == [(0, 1), (0, 3), (1, 3), (2, 3)]


def test_facts_of_tracks(spark, tables):
    tracks = small_frame(
        spark,
        [(4, "a", None), (0, "b", None), (1, "a", None), (2, None, None), (3, None, "x"), (5, "a", None)],
        "track_idx int, artist_id string, alias_of string",
    )
    facts = inputs.track_facts(tracks, training_plays(*tables, "strict"), tables[1])
    assert facts.plays.tolist() == [2 + 3, 3 + 4, 3 + 5, 0, 0, 0]
    assert [inputs.SPLITS[s] for s in facts.split] == ["train", "train", "train", "validation", "test", ""]
    assert facts.artist[1] == facts.artist[4] == facts.artist[5] != 0
    assert facts.artist[0] not in (0, facts.artist[1])
    assert facts.artist[[2, 3]].tolist() == [0, 0]
    assert facts.of_split("test").tolist() == [4]
    assert np.flatnonzero(~facts.listable).tolist() == [3]


@pytest.fixture
def dated_tracks(spark):
    rows = [(0, "a", None, 2019, ["jazz"]), (1, "a", None, 2021, ["jazz"]), (2, "b", None, None, []),
            (3, "b", "x", 2022, ["jazz"]), (4, None, None, 2022, [])]  # fmt: skip
    return small_frame(
        spark, rows, "track_idx int, artist_id string, alias_of string, release_year int, tags array<string>"
    )


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (None, [0, 1, 2, 4]),
        ("release_year >= 2020", [1, 4]),  # not where the year is unknown
        ("release_year < 2022 AND array_contains(tags, 'jazz')", [0, 1]),
        ("NOT track_idx IN (0, 4)", [1, 2]),
    ],
)
def test_a_condition_on_tracks_chooses_candidates(dated_tracks, tables, condition, expected):
    facts = inputs.track_facts(dated_tracks, training_plays(*tables, "strict"), tables[1], condition)
    assert np.flatnonzero(facts.listable).tolist() == expected


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("release_year >", "topn.candidates='release_year >': .*expected a condition in Spark SQL on `tracks`"),
        ("year > 2000", "topn.candidates='year > 2000': .*`year`.*expected a condition"),
        ("release_year", "this is of type int; expected a condition"),
        ("plays > 3", "`plays`"),  # a column of the job, not of the table
    ],
)
def test_what_is_no_condition_on_tracks_is_refused(dated_tracks, tables, condition, told):
    with pytest.raises(SettingsError, match=told):
        inputs.track_facts(dated_tracks, training_plays(*tables, "strict"), tables[1], condition)


def test_recent_interactions_are_those_with_a_play_in_the_last_days(spark):
    rows = [(0, 1, datetime(2026, 1, 31, 23)), (0, 2, datetime(2026, 1, 30)), (0, 3, datetime(2026, 1, 29, 23)),
            (1, 1, None)]  # fmt: skip
    training = small_frame(spark, rows, "user_idx int, track_idx int, last_played_at timestamp")
    assert pairs(inputs.recent(training, date(2026, 1, 31), 1)) == [(0, 1), (1, 1)]
    assert pairs(inputs.recent(training, date(2026, 1, 31), 2)) == [(0, 1), (0, 2), (1, 1)]


def test_the_limit_counts_ids_beside_the_factors():
    limit = inputs.size_limit(TopnSettings(broadcast_mb=1))
    limit.check({"track_idx": 1024}, 240)  # 4 x 240 + 64 bytes per row
    with pytest.raises(DataCheckError, match=r"topn\.broadcast_mb=1: .*lower wmf\.rank"):
        limit.check({"track_idx": 1025}, 240)
