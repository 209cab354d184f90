"""What a set of predicted factors is judged to be worth, pair by pair and track by track."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.comparison.contest import Contest, Judged, by_chance, judge
from etude.search.candidates import Pairs
from etude.vectors import Factors


def contest(users=5, tracks=7, rank=3, seed=0, ids=None) -> Contest:
    """Users play the tracks that their factors like, and the first one."""
    rng = np.random.default_rng(seed)
    idx = np.arange(tracks, dtype=np.int32) if ids is None else np.array(ids, np.int32)
    targets = Factors(idx, (0.3 * rng.standard_normal((tracks, rank))).astype("f4"))
    vectors = rng.standard_normal((users, rank)).astype("f4")
    played = vectors @ targets.values.T + 0.2 * rng.standard_normal((users, tracks)) > 0.3
    played[:, 0] = True
    rows, columns = np.nonzero(played)
    return Contest(vectors, targets, Pairs(rows, idx[columns]))


def naive_counts(judges: Contest, predicted: Factors) -> list[tuple[int, int]]:
    """Compare each score with all others of the user; what isn't predicted comes last."""
    known = dict(zip(predicted.idx.tolist(), predicted.values, strict=True))
    found = []
    for row, track in zip(judges.relevant.rows, judges.relevant.tracks, strict=True):
        user = judges.users[row].astype(float)
        scores = {int(t): float(user @ known[t]) if t in known else -np.inf for t in judges.targets.idx.tolist()}
        own = scores.pop(int(track))
        found.append((sum(s > own for s in scores.values()), 1 + sum(s == own for s in scores.values())))
    return found


@given(st.integers(0, 10_000), st.booleans())
def test_what_is_above_and_what_ties_is_counted(seed, shared):
    judges = contest(seed=seed, ids=[2, 3, 5, 7, 11, 13, 17])
    rng = np.random.default_rng(seed + 1)
    some = np.flatnonzero(rng.random(7) < 0.8)
    values = (
        rng.integers(-2, 3, (len(some), 3)).astype("f4") if shared else rng.standard_normal((len(some), 3)).astype("f4")
    )
    if shared and len(some):
        values[:] = values[0]  # every predicted track has the same score
    predicted = Factors(judges.targets.idx[some], values)
    found = judge(judges, predicted)
    np.testing.assert_array_equal(np.stack([found.above, found.tied], axis=1), naive_counts(judges, predicted))


def test_ties_are_broken_at_random():
    found = Judged(np.array([0.0, 1, 1, 4]), np.array([1.0, 4, 4, 2]), np.zeros((3, 1)), np.zeros((3, 1)))
    assert found.hits(2).tolist() == [1, 0.25, 0.25, 0]
    assert found.hits(5).tolist() == [1, 1, 1, 0.5]
    assert found.ahead.tolist() == [0, 2.5, 2.5, 4.5]


def test_errors_are_sums_over_factors_and_know_which_are_defined():
    judges = contest()
    predicted = Factors(judges.targets.idx[:5], judges.targets.values[:5] + np.float32(0.5))
    predicted.values[0, 0] = -3.0  # has no logarithm
    found = judge(judges, predicted)
    y, p = judges.targets.values[:5].astype(float), predicted.values.astype(float)
    np.testing.assert_allclose(found.errors[0, :5], np.square(p - y).sum(axis=1))
    np.testing.assert_allclose(found.errors[1, :5], np.abs(p - y).sum(axis=1))
    logs = np.square(np.log1p(np.maximum(p, -0.99)) - np.log1p(y))
    logs[0, 0] = 0
    np.testing.assert_allclose(found.errors[2, :5], logs.sum(axis=1), rtol=1e-6)
    assert found.cells[:, :5].tolist() == [[3] * 5, [3] * 5, [2, 3, 3, 3, 3]]
    assert not found.cells[:, 5:].any() and not found.errors[:, 5:].any()


def test_the_true_factors_have_no_error_and_a_scale_changes_no_place():
    judges = contest()
    own = judge(judges, judges.targets)
    assert not own.errors.any()
    np.testing.assert_array_equal(judge(judges, judges.targets.scaled(3)).above, own.above)


def test_chance_gives_every_place_alike(monkeypatch):
    judges = contest(users=400, tracks=50, seed=2)
    places = by_chance(judges, 1).above + 1
    assert places.mean() == pytest.approx(25.5, abs=0.5)
    assert set(places) == set(range(1, 51))
    for row in range(3):  # one user's tracks have different places
        mine = places[judges.relevant.rows == row]
        assert len(set(mine)) == len(mine)
    monkeypatch.setattr("etude.comparison.contest._CELLS", 170)  # three users at a time
    again = by_chance(judges, 1).above + 1
    assert again.mean() == pytest.approx(25.5, abs=0.5)
    assert again.min() == 1 and again.max() == 50
