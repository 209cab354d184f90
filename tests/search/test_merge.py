"""Test merged lists against the list of the union, and the quota of cold tracks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.search.merge import merge, merge_with_quota


def as_list(scored, length):
    """Return {track: score} as a list of one user."""
    order = sorted(scored, key=lambda track: (-scored[track], track))[:length]
    fill = length - len(order)
    tracks = np.array([order + [-1] * fill], dtype=np.int32)
    return tracks, np.array([[scored[t] for t in order] + [-math.inf] * fill], dtype=np.float32)


scores = st.integers(-2, 2).map(float)
part = st.integers(0, 8)


@st.composite
def two_parts(draw):
    warm = {track: draw(scores) for track in range(0, 2 * draw(part), 2)}
    cold = {track: draw(scores) for track in range(1, 2 * draw(part), 2)}
    return warm, cold, draw(st.integers(1, 7))


@given(two_parts())
@settings(max_examples=200, deadline=None)
def test_merged_lists_are_the_list_of_the_union(problem):
    warm, cold, n = problem
    expected = as_list({**warm, **cold}, n)
    for found in (
        merge([as_list(warm, n), as_list(cold, n)], n),
        merge_with_quota(as_list(warm, n), as_list(cold, n), n, 0.0),
    ):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


shares = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])


@given(two_parts(), st.tuples(shares, shares).map(sorted))
@settings(max_examples=300, deadline=None)
def test_the_shares_hold_for_every_k_and_displace_no_more_tracks_than_necessary(problem, least_and_most):
    warm, cold, n = problem
    share, most = least_and_most
    (tracks,), _ = merge_with_quota(as_list(warm, n), as_list(cold, n), n, share, most)
    tracks = [int(track) for track in tracks if track >= 0]
    assert len(tracks) == len(set(tracks)) == min(n, len(warm) + len(cold))
    everything = {**warm, **cold}

    def better(a, b):
        return (-everything[a], a) < (-everything[b], b)

    for k in range(1, len(tracks) + 1):
        kept = [track for track in tracks[:k] if track in cold]
        needed = min(math.floor(share * k + 1e-9), len(cold))
        assert len(kept) >= needed
        allowed = math.floor(most * k + 1e-9)
        assert len(kept) <= allowed or set(warm) <= set(tracks[:k])
        # Only the shares justify a track that is not the best of the rest.
        best = min(set(everything) - set(tracks[: k - 1]), key=lambda track: (-everything[track], track))
        if better(best, tracks[k - 1]) and tracks[k - 1] in cold:
            assert best not in cold
            assert len(kept) == needed
        elif better(best, tracks[k - 1]):
            assert best in cold
            assert len(kept) == allowed


def test_scores_stay_with_their_tracks():
    tracks, values = merge_with_quota(as_list({0: 9.0, 2: 8.0}, 3), as_list({1: 1.0, 3: 0.5}, 3), 4, 0.5)
    assert tracks.tolist() == [[0, 1, 2, 3]]
    assert values.tolist() == [[9.0, 1.0, 8.0, 0.5]]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_two_empty_parts_give_an_empty_list(share):
    tracks, values = merge_with_quota(as_list({}, 2), as_list({}, 2), 3, share)
    assert tracks.tolist() == [[-1, -1, -1]]
    assert np.isneginf(values).all()
