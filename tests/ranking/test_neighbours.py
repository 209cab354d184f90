"""Test item-kNN and EASE against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from etude.ranking.neighbours import cosines, ease, neighbour_models

USERS, TRACKS = 60, 8


@pytest.fixture
def plays():
    """Two groups of tracks that are heard together, and some noise."""
    random = np.random.default_rng(1)
    taste = random.random((USERS, 1)) < 0.5
    group = np.arange(TRACKS) < TRACKS // 2
    return (random.random((USERS, TRACKS)) < np.where(taste == group, 0.7, 0.1)).astype(float)


def test_ease_is_the_least_squares_model_with_a_zero_diagonal(plays):
    """Column by column: regress a track on all others with the same penalty."""
    found = ease(plays.T @ plays, 5.0)
    assert found.dtype == np.float32
    for i in range(TRACKS):
        others = np.delete(np.arange(TRACKS), i)
        x = plays[:, others]
        weights = np.linalg.solve(x.T @ x + 5.0 * np.eye(TRACKS - 1), x.T @ plays[:, i])
        np.testing.assert_allclose(found[i, others], weights, atol=1e-5)
        assert found[i, i] == 0


@pytest.mark.parametrize("nearest", [3, 500])
def test_cosines_count_for_the_nearest_tracks_only(plays, nearest):
    found = cosines(plays.T @ plays, nearest)
    for i in range(TRACKS):
        whole = np.array([
            0 if j == i else plays[:, i] @ plays[:, j] / np.linalg.norm(plays[:, i]) / np.linalg.norm(plays[:, j])
            for j in range(TRACKS)
        ])  # fmt: skip
        kept = np.argsort(-whole)[:nearest]
        expected = np.where(np.isin(np.arange(TRACKS), kept), whole, 0)
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


def test_a_track_that_nobody_played_is_nobodys_neighbour(plays):
    plays[:, 2] = 0
    for found in (cosines(plays.T @ plays, 3), ease(plays.T @ plays, 5.0)):
        assert np.isfinite(found).all()
        assert not found[2].any() and not found[:, 2].any()


def test_the_numbers_are_chosen_on_validation_plays(plays):
    """A world of 150 tracks in groups, of which lists hold 100."""
    random = np.random.default_rng(0)
    group = np.arange(150) // 15
    taste = random.integers(10, size=400)
    chance = np.where(taste[:, None] == group, 0.5, 0.02)
    heard, later = (random.random((400, 150)) < chance for _ in range(2))
    tracks = np.arange(150, dtype=np.int32) * 3
    training, validation = (
        np.column_stack([pairs[0] + 1000, tracks[pairs[1]]])
        for pairs in (np.nonzero(heard), np.nonzero(later & ~heard))
    )
    extra = np.array([[1000, 1], [5, 3]])  # a track that isn't warm, a user without training plays
    found = neighbour_models(training, np.vstack([validation, extra]), tracks)
    assert set(found) == {"item_knn", "ease"}
    for each in found.values():
        assert each.tracks.tolist() == tracks.tolist()
        same = each.similarity[group[:, None] == group].mean()
        assert same > 5 * abs(each.similarity[group[:, None] != group].mean())
    gram = heard.T.astype(float) @ heard

    def hits(similarity):
        total = 0
        for user in np.flatnonzero((later & ~heard).any(axis=1)):
            scores = np.where(heard[user], -np.inf, similarity[:, heard[user]].sum(axis=1))
            total += (later & ~heard)[user, np.argsort(-scores)[:100]].sum()
        return total

    for name, maker, numbers in (("item_knn", cosines, (20, 100, 500)), ("ease", ease, (10, 30, 100, 300, 1000))):
        counts = {number: hits(maker(gram, number)) for number in numbers}
        assert counts[found[name].chosen] >= max(counts.values()) - 2  # ties among scores
        assert counts[found[name].chosen] > min(counts.values())
