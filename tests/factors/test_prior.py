"""Test tracks solved with a prior against dense numpy solutions, and the prior's limits."""

from __future__ import annotations

import numpy as np
import pytest
from dense import small_interactions

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.prior import content_of, played_tracks
from etude.vectors import Factors

RANK, TRACKS = 5, 100
"""Tracks 0, 2, ..., 78 are played (see small_interactions), all others are not."""


def settings(**changed) -> WmfSettings:
    given = {"rank": RANK, "solver": "cholesky", "regularization": 2.0, "alpha": 3.0, **changed}
    return WmfSettings.model_validate(given)


@pytest.fixture(scope="module")
def plays():
    return small_interactions()


@pytest.fixture
def start(plays):
    """The factors of a fit, and a prior of every track."""
    random = np.random.default_rng(3)

    def drawn(idx):
        return Factors(np.unique(idx).astype(np.int32), random.normal(0, 0.4, (len(np.unique(idx)), RANK)).astype("f4"))

    return drawn(plays.user_idx), drawn(plays.track_idx), drawn(np.arange(TRACKS))


def solved(plays, frame_of, start, weight, wmf=None):
    users, fitted, prior = start
    with played_tracks(frame_of(plays), users, fitted, wmf or settings()) as tracks:
        return tracks.solve(prior, weight)


def dense(plays, start, weight, wmf):
    """Return the minimum over all cells, track by track: (played tracks, rank)."""
    users, _, prior = start
    x, rows = users.values.astype(np.float64), []
    for track in np.unique(plays.track_idx):
        mine = plays[plays.track_idx == track]
        c, p = np.ones(len(users)), np.zeros(len(users))
        at = np.searchsorted(users.idx, mine.user_idx)
        c[at], p[at] = 1 + wmf.alpha * np.log1p(mine.play_count / wmf.epsilon), 1
        own = wmf.regularization * (len(mine) if wmf.regularization_scaling == "frequency" else 1)
        m = weight * wmf.regularization
        left = x.T @ (c[:, None] * x) + (own + m) * np.eye(RANK)
        rows.append(np.linalg.solve(left, x.T @ (c * p) + m * prior.values[track]))
    return np.stack(rows)


@pytest.mark.parametrize("scaling", ["none", "frequency"])
def test_each_track_solves_its_equations_over_all_cells(plays, start, frame_of, scaling):
    wmf = settings(regularization_scaling=scaling)
    found = solved(plays, frame_of, start, 4.0, wmf)
    assert found.idx.tolist() == sorted(set(plays.track_idx))
    assert found.values == pytest.approx(dense(plays, start, 4.0, wmf), rel=1e-3, abs=1e-4)


def test_conjugate_gradient_comes_near_the_exact_solution(plays, start, frame_of):
    exact = solved(plays, frame_of, start, 4.0)
    near = solved(plays, frame_of, start, 4.0, settings(solver="cg", cg_steps=1))
    assert near.values == pytest.approx(exact.values, rel=1e-2, abs=2e-3)


def test_the_weaker_the_prior_the_nearer_the_plain_solution(plays, start, frame_of):
    users, fitted, prior = start
    found = solved(plays, frame_of, start, 1e-6)
    plain = dense(plays, (users, fitted, prior.scaled(0)), 0.0, settings())
    assert found.values == pytest.approx(plain, abs=1e-4)


def test_the_stronger_the_prior_the_nearer_its_own_factors(plays, start, frame_of):
    found = solved(plays, frame_of, start, 1e6)
    assert found.values == pytest.approx(start[2].values[found.idx], abs=1e-3)


def test_a_played_track_without_a_prior_is_an_error(plays, start, frame_of):
    users, fitted, prior = start
    with pytest.raises(DataCheckError, match="1 of 40 played tracks have no prior"):
        solved(plays, frame_of, (users, fitted, prior.where(prior.idx != 2)), 1.0)


def test_what_content_does_not_know_is_the_mean():
    known = Factors(np.array([1, 3], np.int32), np.array([[1, 2], [3, 4]], np.float32))
    found = content_of(np.arange(4, dtype=np.int32), known, np.array([9.0, 8.0]))
    assert found.values.tolist() == [[9, 8], [1, 2], [9, 8], [3, 4]]
