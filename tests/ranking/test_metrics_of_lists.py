"""Test each metric against its definition."""

from __future__ import annotations

import tracemalloc

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.ranking import metrics
from etude.ranking.sums import hits_of
from etude.ranking.wins import wins
from etude.search.candidates import Candidates, Pairs


@given(
    st.lists(st.tuples(st.permutations(range(8)), st.sets(st.integers(0, 9), min_size=1)), min_size=1, max_size=5),
    st.integers(0, 8),
    st.integers(1, 10),
)
@settings(max_examples=200, deadline=None)
def test_metrics_equal_their_definitions(users, length, k):
    tracks = np.array([[*order[:length], *[-1] * (8 - length)] for order, _ in users], dtype=np.int32)
    rows = np.repeat(np.arange(len(users)), [len(relevant) for _, relevant in users])
    pairs = Pairs(rows, np.array([track for _, relevant in users for track in sorted(relevant)], dtype=np.int32))
    hits, relevant = hits_of(tracks, pairs), np.bincount(rows)
    for number, (order, wanted) in enumerate(users):
        expected = naive.list_metrics(list(order[:length]), wanted, k)
        found = {name: metric(hits, relevant, k)[number] for name, metric in metrics.LIST_METRICS.items()}
        assert found == pytest.approx(expected)


def test_hits_take_memory_by_lists_and_relevant_tracks_not_by_their_product():
    users, relevant, length = 100, 1000, 1000
    tracks = np.tile(np.arange(length, dtype=np.int32), (users, 1))
    wanted = np.tile(np.arange(0, 2 * relevant, 2, dtype=np.int32), users)
    tracemalloc.start()
    hits = hits_of(tracks, Pairs(np.repeat(np.arange(users), relevant), wanted))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (hits == (tracks % 2 == 0)).all()
    assert peak < users * relevant * length  # less than a byte for each pair of a listed and a relevant track


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.integers(0, 3),
    st.lists(st.sets(st.integers(0, 10)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_auc_equals_its_definition(values, unscored, relevant):
    scored = {track: float(value) for track, value in enumerate(values)}
    everything = set(range(len(values) + unscored))
    relevant = [sorted(wanted & everything) for wanted in relevant]
    candidates = Candidates.of(list(scored), np.array(values, dtype=np.float32)[:, None])
    rows = np.repeat(np.arange(len(relevant)), [len(wanted) for wanted in relevant])
    pairs = Pairs(rows, np.array([track for wanted in relevant for track in wanted], dtype=np.int32))
    counts = np.bincount(rows, minlength=len(relevant))
    won = wins(np.ones((len(relevant), 1), np.float32), candidates, unscored, pairs)
    with np.errstate(invalid="ignore"):
        found = metrics.auc(won, counts, len(everything))
    for wanted, value in zip(relevant, found, strict=True):
        if not wanted:
            continue
        expected = naive.auc(scored, everything, set(wanted))
        assert np.isnan(value) if expected is None else value == pytest.approx(expected)


def test_wins_don_t_depend_on_how_many_scores_fit(monkeypatch):
    rng = np.random.default_rng(1)
    users, factors = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(30, 3))
    pairs = Pairs(np.repeat(np.arange(40), 3), rng.integers(0, 30, 120).astype(np.int32))
    candidates = Candidates.of(np.arange(30), factors)
    whole = wins(users, candidates, 2, pairs)
    monkeypatch.setattr("etude.ranking.wins._CELLS", 31)
    np.testing.assert_array_equal(wins(users, candidates, 2, pairs), whole)
