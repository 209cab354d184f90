"""Test the pruned search against a full one: every score, every order."""

from __future__ import annotations

import numpy as np
import pytest
from heard import pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etude.search import exact
from etude.search.candidates import NOTHING, Candidates
from etude.search.exact import top_n


def brute_force(users, tracks, factors, n, heard):
    """Sort all scores, by the definition of the list."""
    lists = []
    for user, skip in zip(users, heard, strict=True):
        scores = np.array([exact.score(user[None], row[None, None])[0, 0] for row in factors], dtype=np.float32)
        order = [i for i in np.lexsort((tracks, -scores)) if tracks[i] not in skip][:n]
        lists.append([(int(tracks[i]), float(scores[i])) for i in order])
    return lists


def listed(found, scores):
    return [
        [(int(t), float(s)) for t, s in zip(row, values, strict=True) if t >= 0]
        for row, values in zip(found, scores, strict=True)
    ]


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 4))
    n_tracks = draw(st.integers(1, 40))
    # A few whole numbers and eighths make equal factors, equal scores and zero vectors common.
    values = draw(st.sampled_from([(-1.0, 0.0, 1.0), (0.0, 1.0, 2.0), (0.1, 0.3, -0.7, 1e-4, 3.0)]))
    cells = st.sampled_from(values)
    factors = draw(hnp.arrays(np.float64, (n_tracks, rank), elements=cells)).astype(np.float32)
    users = draw(hnp.arrays(np.float64, (draw(st.integers(1, 6)), rank), elements=cells)).astype(np.float32)
    tracks = np.array(draw(st.permutations(range(3, 3 + n_tracks))), dtype=np.int32)
    heard = [sorted(draw(st.sets(st.integers(0, 45), max_size=30))) for _ in users]
    return users, tracks, factors, draw(st.integers(1, 12)), heard


@given(problems())
@settings(max_examples=300, deadline=None)
def test_lists_equal_brute_force(monkeypatch_blocks, problem):
    users, tracks, factors, n, heard = problem
    found, scores = top_n(users, Candidates.of(tracks, factors), n, pairs(heard))
    assert listed(found, scores) == brute_force(users, tracks, factors, n, heard)


@pytest.fixture(scope="module")
def monkeypatch_blocks():
    """Make blocks and slack so small that the search of a few tracks takes several rounds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(exact, "_FIRST_BLOCK", 3)
    patch.setattr(exact, "_LARGEST_BLOCK", 5)
    patch.setattr(exact, "_SLACK", 1)
    patch.setattr(exact, "BATCH", 4)
    yield
    patch.undo()


def skewed(rng, n_tracks, rank, n_users):
    factors = rng.normal(size=(n_tracks, rank)) * np.geomspace(1, 1e-3, n_tracks)[:, None]
    return rng.normal(size=(n_users, rank)).astype(np.float32), rng.permutation(factors).astype(np.float32)


def test_scores_equal_brute_force_on_many_blocks():
    rng = np.random.default_rng(1)
    users, factors = skewed(rng, 6_000, 16, 600)
    tracks = rng.permutation(9_000)[:6_000]
    found, scores = top_n(users, Candidates.of(tracks, factors), 50)
    plain = users.astype(np.float64) @ factors.T.astype(np.float64)
    best = -np.sort(-plain, axis=1)[:, :50]
    np.testing.assert_allclose(scores, best, atol=1e-5, rtol=1e-5)
    row_of = np.full(9_000, -1)
    row_of[tracks] = np.arange(6_000)
    np.testing.assert_allclose(np.take_along_axis(plain, row_of[found], axis=1), scores, atol=1e-5, rtol=1e-5)
    assert all(len(set(row)) == 50 for row in found.tolist())


def test_a_track_of_smaller_norm_in_the_users_direction_is_still_found():
    angles = np.linspace(0.3, 0.5, 2_000)
    angles[[1_500, 1_999]] = 0.0
    factors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(1.0, 0.96, 2_000)[:, None]
    found, scores = top_n(np.array([[1.0, 0.0]], np.float32), Candidates.of(np.arange(2_000), factors), 2)
    assert found.tolist() == [[1_500, 1_999]]  # 0.97 and 0.96, though the longest track scores 0.955
    np.testing.assert_allclose(scores[0], [0.97, 0.96], atol=1e-4)


def test_a_search_of_skewed_norms_stops_early(monkeypatch):
    users, factors = skewed(np.random.default_rng(2), 20_000, 8, 100)
    looked_at = []
    keep_best = exact._keep_best
    monkeypatch.setattr(
        exact, "_keep_best", lambda block, *rest: (looked_at.append(block.size), keep_best(block, *rest))
    )
    top_n(users, Candidates.of(np.arange(20_000), factors), 10)
    assert sum(looked_at) < 0.4 * 100 * 20_000


def test_lists_dont_depend_on_the_batch_a_user_is_in():
    rng = np.random.default_rng(3)
    users, factors = skewed(rng, 3_000, 32, 600)
    candidates = Candidates.of(np.arange(len(factors)), factors)
    together, alone = top_n(users, candidates, 20), [top_n(user[None], candidates, 20) for user in users[::50]]
    np.testing.assert_array_equal(together[0][::50], np.concatenate([found for found, _ in alone]))
    np.testing.assert_array_equal(together[1][::50], np.concatenate([scores for _, scores in alone]))


def test_thousands_of_equal_factors_are_one_vector():
    factors = np.ones((5_000, 4), np.float32)
    factors[7] = 2
    candidates = Candidates.of(np.arange(len(factors)), factors)
    assert candidates.vectors.shape == (2, 4)
    found, _ = top_n(np.ones((3, 4), np.float32), candidates, 5, pairs([[], [0, 1, 7], range(4_998)]))
    assert found.tolist() == [[7, 0, 1, 2, 3], [2, 3, 4, 5, 6], [4_998, 4_999, -1, -1, -1]]


def test_nearly_equal_scores_are_ordered_by_the_score_and_not_by_float32_products():
    rng = np.random.default_rng(4)
    base = rng.normal(size=64)
    factors = (base + rng.normal(size=(3_000, 64)) * 1e-7).astype(np.float32)
    users = np.stack([base, -base]).astype(np.float32)
    found, scores = top_n(users, Candidates.of(np.arange(3_000), factors), 30)
    assert listed(found, scores) == brute_force(users, np.arange(3_000), factors, 30, [[], []])


def test_no_candidates_and_no_users():
    none = Candidates.of([], np.empty((0, 3)))
    found, scores = top_n(np.ones((2, 3), np.float32), none, 2)
    assert found.tolist() == [[-1, -1]] * 2
    assert np.isneginf(scores).all()
    assert top_n(np.ones((0, 3), np.float32), Candidates.of([1], np.ones((1, 3))), 2, NOTHING)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("tracks", "factors", "message"),
    [
        ([1, 1], [[1.0], [2.0]], "occurs twice"),
        ([1], [[1.0], [2.0]], "don't fit"),
        ([1], [[np.nan]], "finite"),
    ],
)
def test_candidates_that_contradict_themselves_are_refused(tracks, factors, message):
    with pytest.raises(ValueError, match=message):
        Candidates.of(tracks, factors)
