"""Test sums, the k-core against a plain one, samples that depend on ids only, and filters that remove everything."""

from collections import Counter
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.config import load_settings
from etude.errors import InputMissingError
from etude.frames import small_frame
from etude.interactions import added, filtered, has_newer_plays, k_core, plays_until, sum_plays
from held import Held


@pytest.fixture
def staging(spark):
    return Held(spark)


def plain_core(pairs, per_user, per_track):
    pairs = set(pairs)
    while True:
        users = Counter(user for user, _ in pairs)
        tracks = Counter(track for _, track in pairs)
        left = {(u, t) for u, t in pairs if users[u] >= per_user and tracks[t] >= per_track}
        if left == pairs:
            return left
        pairs = left


def core_of(spark, staging, pairs, per_user, per_track):
    frame = small_frame(spark, sorted(set(pairs)), "user_idx int, track_idx int")
    core = k_core(frame, per_user, per_track, staging)
    users = {row[0] for row in core.users.collect()}
    tracks = {row[0] for row in core.tracks.collect()}
    assert (core.n_users, core.n_tracks) == (len(users), len(tracks))
    return core, {(u, t) for u, t in pairs if u in users and t in tracks}


def test_the_k_core_removes_a_chain_link_by_link(spark, staging):
    """Each user shares a track only with the next: the 2-core removes one link per round from the open end."""
    chain = [(n, n) for n in range(4)] + [(n, n + 1) for n in range(4)]
    ring = [(10, 10), (10, 11), (11, 10), (11, 11)]
    core, left = core_of(spark, staging, chain + ring, 2, 2)
    assert left == set(ring)
    assert core.rounds > 2


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_k_core_is_the_plain_one(spark, staging, pairs, per_user, per_track):
    _, left = core_of(spark, staging, pairs, per_user, per_track)
    assert left == plain_core(pairs, per_user, per_track)


def test_plays_are_summed_by_user_and_track(spark):
    day = [datetime(2026, 1, n) for n in (1, 2, 3)]
    plays = small_frame(
        spark,
        [("u", "t", 2, day[1]), ("u", "t", 3, day[0]), ("u", "s", 1, None), ("v", "t", 2**40, day[2])],
        "user_id string, track_id string, play_count bigint, played_at timestamp",
    )
    users = small_frame(spark, [("u", 0), ("v", 1), ("w", 2)], "user_id string, user_idx int")
    tracks = small_frame(spark, [("t", 5, None), ("s", 7, None)], "track_id string, track_idx int, alias_of string")
    assert sorted(map(tuple, sum_plays(plays, users, tracks).collect())) == [
        (0, 5, 5, day[0], day[1]),
        (0, 7, 1, None, None),
        (1, 5, 2**40, day[2], day[2]),
    ]


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9), st.integers(1, 28) | st.none())))
def test_added_sums_are_those_of_all_plays(spark, staging, plays):
    """The first half of the plays, and then the second."""
    schema = "user_id string, track_id string, play_count bigint, played_at timestamp"
    rows = [(f"u{u}", f"t{t}", n, day and datetime(2026, 1, day)) for u, t, n, day in plays]
    users = small_frame(spark, [(f"u{n}", n) for n in range(4)], "user_id string, user_idx int")
    ids = [(f"t{n}", n, None) for n in range(4)]
    tracks = small_frame(spark, ids, "track_id string, track_idx int, alias_of string")
    half = len(rows) // 2
    whole, before, after = (
        sum_plays(small_frame(spark, some, schema), users, tracks) for some in (rows, rows[:half], rows[half:])
    )
    found = added(before, staging.keep(after), staging)
    assert found.columns == whole.columns
    assert sorted(map(str, found.collect())) == sorted(map(str, whole.collect()))


def dense(spark, n, shift=0):
    """Return a full n x n matrix, with ids that don't depend on their indices."""
    pairs = [((u + shift) % n, (t + shift) % n, 1) for u in range(n) for t in range(n)]
    users = [(f"u{u}", (u + shift) % n) for u in range(n)]
    tracks = [(f"t{t}", (t + shift) % n) for t in range(n)]
    return (
        small_frame(spark, pairs, "user_idx int, track_idx int, play_count bigint"),
        small_frame(spark, users, "user_id string, user_idx int"),
        small_frame(spark, tracks, "track_id string, track_idx int"),
    )


def sampled_ids(spark, staging, shift, *overrides):
    chosen = load_settings([], [f"listening.{each}" for each in overrides]).listening
    rows, users, tracks = dense(spark, 12, shift)
    left, _ = filtered(rows, users, tracks, chosen, staging)
    named = left.join(users, "user_idx").join(tracks, "track_idx").collect()
    return {row["user_id"] for row in named}, {row["track_id"] for row in named}


def test_samples_are_drawn_by_id_and_seed(spark, staging):
    first = sampled_ids(spark, staging, 0, "sample_users=5", "max_tracks=4")
    assert (len(first[0]), len(first[1])) == (5, 4)
    assert sampled_ids(spark, staging, 3, "sample_users=5", "max_tracks=4") == first
    assert sampled_ids(spark, staging, 0, "sample_users=5", "max_tracks=4", "seed=2") != first


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("min_plays_per_user=13",), r"the k-core \(listening\.min_plays_per_user=13, .*\) leaves no interactions"),
        (
            ("min_plays_per_track=12", "sample_users=5"),
            r"listening\.sample_users=5 and the k-core after it \(.*min_plays_per_track=12\) leave no interactions",
        ),
    ],
)
def test_the_error_names_the_filter_that_removes_everything(spark, staging, overrides, message):
    with pytest.raises(InputMissingError, match=message):
        sampled_ids(spark, staging, 0, *overrides)


def test_plays_without_a_time_belong_to_the_day_that_counted_them(spark):
    day = datetime(2026, 1, 31).date()
    rows = [
        ("old", datetime(2026, 1, 2), day, day),
        ("recent", datetime(2026, 1, 30, 12), day, day),
        ("counted", None, datetime(2026, 1, 1).date(), datetime(2026, 1, 30).date()),
        ("later", datetime(2026, 1, 30), datetime(2026, 2, 1).date(), day),
    ]
    plays = small_frame(spark, rows, "track_id string, played_at timestamp, batch_date date, counted_on date")
    assert {row["track_id"] for row in plays_until(plays, day).collect()} == {"old", "recent", "counted"}
    assert {row["track_id"] for row in plays_until(plays, day, 2).collect()} == {"recent", "counted"}
    assert has_newer_plays(plays, day)
    assert not has_newer_plays(plays_until(plays, day), day)
    assert not has_newer_plays(plays.limit(0), day)
