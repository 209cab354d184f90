"""Lists with few tracks of an artist equal those of a full sort, and are as long as they can be."""

from __future__ import annotations

import numpy as np
import pytest
from heard import pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import TRACKS, admitted, problems, sorted_tracks

from etude.search import exact
from etude.search.candidates import Candidates, Pairs
from etude.search.cap import Cap
from etude.search.exact import top_n
from etude.search.merge import merge, merge_with_quota


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BATCH", 2), ("_FIRST_BLOCK", 3), ("_LARGEST_BLOCK", 6), ("_SLACK", 0)):
            patch.setattr(exact, name, value)
        yield


@given(problems())
@settings(max_examples=300, deadline=None)
def test_lists_equal_those_of_a_full_sort(problem):
    users, tracks, factors, n, heard, cap = problem
    found, scores = top_n(users, Candidates.of(tracks, factors), n, pairs(heard), cap)
    expected = [
        admitted(sorted_tracks(user, tracks, factors, skip), cap)[:n] for user, skip in zip(users, heard, strict=True)
    ]
    assert [[int(t) for t in row if t >= 0] for row in found] == expected
    assert (np.isneginf(scores) == (found < 0)).all()


@given(problems())
@settings(max_examples=200, deadline=None)
def test_the_room_is_the_length_of_the_longest_list(problem):
    users, tracks, factors, _, heard, cap = problem
    listable = np.zeros(TRACKS, dtype=bool)
    listable[tracks] = True
    found, _ = top_n(users, Candidates.of(tracks, factors), TRACKS, pairs(heard), cap)
    assert cap.room(listable, pairs(heard), len(users)).tolist() == (found >= 0).sum(axis=1).tolist()


@given(problems(), st.data())
@settings(max_examples=200, deadline=None)
def test_merged_parts_are_the_list_of_the_union(problem, data):
    users, tracks, factors, n, heard, cap = problem
    first = np.array(data.draw(st.lists(st.booleans(), min_size=len(tracks), max_size=len(tracks))))
    parts = [top_n(users, Candidates.of(tracks[mine], factors[mine]), n, pairs(heard), cap) for mine in (first, ~first)]
    whole = top_n(users, Candidates.of(tracks, factors), n, pairs(heard), cap)
    for merged in (merge(parts, n, cap), merge_with_quota(*parts, n, 0.0, 1.0, cap)):
        np.testing.assert_array_equal(merged[0], whole[0])
        np.testing.assert_array_equal(merged[1], whole[1])
    least = data.draw(st.sampled_from([0.3, 0.5, 1.0]))
    mixed, _ = merge_with_quota(*parts, n, least, 1.0, cap)
    for row, full, of_cold in zip(mixed, whole[0], parts[1][0], strict=True):
        listed = [int(t) for t in row if t >= 0]
        assert admitted(listed, cap) == listed
        assert len(listed) == (full >= 0).sum()
        for k in range(1, len(listed) + 1):
            cold = [t for t in listed[:k] if t in of_cold]
            others = [int(t) for t in of_cold if t >= 0 and t not in cold]
            assert len(cold) >= int(least * k) or admitted([*listed[:k], *others], cap) == listed[:k]


def test_a_list_is_full_although_one_artist_has_all_the_best_tracks():
    """The search has to go on far behind the n best."""
    factors = np.concatenate([np.full((5000, 1), 2.0), np.linspace(1.9, 1.0, 300)[:, None]]).astype(np.float32)
    cap = Cap(np.concatenate([np.ones(5000), np.arange(2, 302)]).astype(np.int64), 2)
    found, _ = top_n(np.ones((3, 1), np.float32), Candidates.of(np.arange(5300), factors), 20, cap=cap)
    assert found.tolist() == [[0, 1, *range(5000, 5018)]] * 3


@pytest.mark.parametrize("alike", [60, 5000])
def test_under_a_limit_tracks_that_share_a_vector_are_not_all_taken_out(monkeypatch, alike):
    """As the tracks that nobody has played, which popularity scores alike; the first of them are one artist's."""
    taken = []
    unshare = exact._unshare

    def counting(candidates, found, scores, heard, n):
        taken.append((len(found), n))
        return unshare(candidates, found, scores, heard, n)

    monkeypatch.setattr(exact, "_unshare", counting)
    tracks = np.arange(20_000)
    artist = np.where(tracks < alike, 1, tracks + 2)
    cap = Cap(artist.astype(np.int64), 2)
    heard = Pairs(np.array([1, 1]), np.array([0, alike + 3], np.int32))
    candidates = Candidates.of(tracks, np.ones((20_000, 1), np.float32))
    found, _ = top_n(np.ones((3, 1), np.float32), candidates, 20, heard, cap)
    for row, skipped in zip(found.tolist(), [(), (0, alike + 3), ()], strict=True):
        assert row == admitted([track for track in tracks.tolist() if track not in skipped], cap)[:20]
    assert max(n for _, n in taken) < (alike + 20) * 4
