"""Test that parts of a score add up to it, against systems that are solved exactly."""

from __future__ import annotations

import numpy as np
import pytest

from etude.factors.explanation import content_part, parts_of_score

RANK, USERS, TRACKS = 5, 12, 9


@pytest.fixture
def world():
    random = np.random.default_rng(4)
    extra = np.where(random.random((USERS, TRACKS)) < 0.4, random.integers(1, 9, (USERS, TRACKS)), 0).astype(float)
    return random, extra, random.standard_normal((TRACKS, RANK)), random.standard_normal((USERS, RANK))


def solved(fixed, extra, regularization, prior=0.0, weight=0.0):
    """The factors of a row, from all cells of the matrix, played or not."""
    confidence = np.diag(1 + extra)
    played = (extra > 0).astype(float)
    system = fixed.T @ confidence @ fixed + (regularization + weight) * np.eye(RANK)
    return np.linalg.solve(system, fixed.T @ confidence @ played + weight * prior * np.ones(RANK))


def test_the_parts_of_the_plays_add_up_to_the_score(world):
    random, extra, tracks, _ = world
    gram, any_track = tracks.T @ tracks, random.standard_normal(RANK)
    for row in extra:
        played = row > 0
        parts = parts_of_score(any_track, tracks[played], row[played], gram, 0.7)
        assert parts.shape == (played.sum(),)
        assert parts.sum() == pytest.approx(solved(tracks, row, 0.7) @ any_track)


def test_a_part_is_what_the_play_brought(world):
    """With the weights of the user's system left as they are, the score is linear in the plays."""
    random, extra, tracks, _ = world
    any_track, row = random.standard_normal(RANK), extra[0]
    played = np.flatnonzero(row)
    parts = parts_of_score(any_track, tracks[played], row[played], tracks.T @ tracks, 0.7)
    system = tracks.T @ np.diag(1 + row) @ tracks + 0.7 * np.eye(RANK)
    without = np.linalg.solve(system, tracks[played[1:]].T @ (1 + row[played[1:]]))
    assert parts[0] == pytest.approx(solved(tracks, row, 0.7) @ any_track - without @ any_track)


@pytest.mark.parametrize("weight", [0.0, 2.0, 1e9])
def test_the_part_of_content_is_what_the_prior_brought(world, weight):
    random, extra, _, users = world
    user, row = random.standard_normal(RANK), extra[:, 3]
    heard = row > 0
    found = content_part(user, 0.4 * np.ones(RANK), weight, users[heard], row[heard], users.T @ users, 0.7)
    with_it, without = (solved(users, row, 0.7, prior, weight) @ user for prior in (0.4, 0.0))
    assert found == pytest.approx(with_it - without, abs=1e-6)
    if weight == 1e9:
        assert found == pytest.approx(user @ (0.4 * np.ones(RANK)), rel=1e-5)
