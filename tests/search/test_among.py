"""Lists among named tracks equal those of a full sort of these tracks."""

from __future__ import annotations

import numpy as np
from heard import pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import TRACKS, admitted, problems, sorted_tracks

from etude.search import among
from etude.search.among import top_n_among
from etude.search.candidates import NOTHING, Candidates


@given(problems(), st.booleans(), st.data())
@settings(max_examples=300, deadline=None)
def test_lists_equal_those_of_a_full_sort(problem, capped, data):
    users, tracks, factors, n, named, cap = problem
    first = np.array(data.draw(st.lists(st.booleans(), min_size=len(tracks), max_size=len(tracks))))
    parts = [Candidates.of(tracks[mine], factors[mine]) for mine in (first, ~first)]
    found, scores = top_n_among(users, parts, pairs(named), n, cap if capped else None)
    for user, mine, row, values in zip(users, named, found, scores, strict=True):
        expected = sorted_tracks(user, tracks, factors, set(range(TRACKS)) - set(mine))
        expected = (admitted(expected, cap) if capped else expected)[:n]
        assert [int(track) for track in row if track >= 0] == expected
        assert (np.isneginf(values) == (row < 0)).all()
        assert (np.diff(values[: len(expected)]) <= 0).all()


def test_scores_are_those_of_the_search(monkeypatch):
    monkeypatch.setattr(among, "_SCORED_TOGETHER", 3)
    rng = np.random.default_rng(0)
    users, factors = rng.standard_normal((4, 5)).astype("f4"), rng.standard_normal((10, 5)).astype("f4")
    _, scores = top_n_among(users, [Candidates.of(range(10), factors)], pairs([range(10)] * 4), 10)
    expected = np.sort(users.astype("f8") @ factors.T.astype("f8"), axis=1)[:, ::-1].astype("f4")
    assert scores.tolist() == expected.tolist()


def test_without_candidates_or_named_tracks_the_lists_are_empty():
    users = np.ones((2, 1), np.float32)
    assert (top_n_among(users, [], pairs([[1], [2]]), 3)[0] == -1).all()
    assert (top_n_among(users, [Candidates.of([1], [[1.0]])], NOTHING, 3)[0] == -1).all()
