"""Test the join of plays and content against dense numpy solutions, and its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense import small_interactions

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.prior import Prior, join, without_plays
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

    users, tracks, g = drawn(plays.user_idx), drawn(plays.track_idx), drawn(np.arange(TRACKS))
    return users, tracks, Prior(g, random.random(TRACKS).astype(np.float32), 4.0)


class Dense:
    """The objective and its alternation over all cells, with the tracks of the prior as columns."""

    def __init__(self, plays, users, prior, wmf):
        r = np.zeros((len(users), TRACKS))
        r[np.searchsorted(users.idx, plays.user_idx), plays.track_idx] = plays.play_count
        self.p, self.wmf, self.m, self.g = r > 0, wmf, prior.weight, prior.factors.values.astype(np.float64)
        e = prior.exposure.astype(np.float64)
        self.c = np.where(self.p, 1 + wmf.alpha * np.log1p(r / wmf.epsilon), e)
        often = wmf.regularization_scaling == "frequency"
        per_user, per_track = (self.p.sum(1), self.p.sum(0)) if often else (np.ones(len(users)), np.ones(TRACKS))
        self.l_user, self.l_track = wmf.regularization * per_user, wmf.regularization * per_track

    @staticmethod
    def solved(c, p, fixed, l, pull):  # noqa: E741
        """Each row's solution of (F' C F + l I) x = F' C p + pull."""
        rows = (
            np.linalg.solve(fixed.T @ (c[i][:, None] * fixed) + l[i] * np.eye(RANK), fixed.T @ (c[i] * p[i]) + pull[i])
            for i in range(len(c))
        )
        return np.stack(list(rows))

    def tracks(self, x):
        return self.solved(self.c.T, self.p.T, x, self.l_track + self.m, self.m * self.g)

    def users(self, y):
        return self.solved(self.c, self.p, y, self.l_user, np.zeros((len(self.c), RANK)))

    def loss(self, x, y):
        cells = (self.c * (self.p - x @ y.T) ** 2).sum()
        own = self.l_user @ (x**2).sum(1) + self.l_track @ (y**2).sum(1)
        return cells + own + self.m * ((y - self.g) ** 2).sum()


@pytest.mark.parametrize("scaling", ["none", "frequency"])
@pytest.mark.parametrize("confident", [1, 0.3])
def test_it_is_the_alternation_over_all_cells(plays, start, frame_of, scaling, confident):
    users, tracks, prior = start
    prior = replace(prior, exposure=prior.exposure**confident)
    wmf = settings(regularization_scaling=scaling)
    dense = Dense(plays, users, prior, wmf)
    x = users.values.astype(np.float64)
    y = dense.tracks(x)
    losses = [dense.loss(x, y)]
    for _ in range(2):
        x = dense.users(y)
        y = dense.tracks(x)
        losses.append(dense.loss(x, y))
    found = join(frame_of(plays), users, tracks, prior, wmf, 2)
    assert found.users.idx.tolist() == users.idx.tolist()
    assert found.tracks.idx.tolist() == list(range(TRACKS))
    assert found.users.values == pytest.approx(x, rel=1e-3, abs=1e-4)
    assert found.tracks.values == pytest.approx(y, rel=1e-3, abs=1e-4)
    assert [step for step, _ in found.losses] == [0, 1, 2]
    assert [loss for _, loss in found.losses] == pytest.approx(losses, rel=1e-5)
    assert losses == sorted(losses, reverse=True)


def test_conjugate_gradient_comes_near_the_exact_solution(plays, start, frame_of):
    exact = join(frame_of(plays), *start, settings(), 2)
    near = join(frame_of(plays), *start, settings(solver="cg", cg_steps=20), 2)
    assert near.tracks.values == pytest.approx(exact.tracks.values, rel=1e-2, abs=2e-3)
    assert near.losses[-1][1] == pytest.approx(exact.losses[-1][1], rel=1e-4)


def test_the_weaker_the_prior_the_nearer_the_plain_solution(plays, start, frame_of):
    users, tracks, prior = start
    weak = replace(prior, weight=1e-6, exposure=np.ones(TRACKS, np.float32))
    found = join(frame_of(plays), users, tracks, weak, settings(), 0).tracks
    none = replace(weak, factors=Factors(prior.factors.idx, np.zeros_like(prior.factors.values)))
    plain = Dense(plays, users, none, settings()).tracks(users.values.astype(np.float64))
    assert found.values == pytest.approx(plain, abs=1e-4)
    assert np.abs(found.values[1::2]).max() < 1e-5, "without plays and without a prior there is nothing"


def test_the_stronger_the_prior_the_nearer_its_own_factors(plays, start, frame_of):
    users, tracks, prior = start
    found = join(frame_of(plays), users, tracks, replace(prior, weight=1e6), settings(), 2).tracks
    assert found.values == pytest.approx(prior.factors.values, abs=1e-3)


def test_a_new_track_without_plays_has_the_direction_of_its_prior_and_a_shelf_warmer_is_shorter(start):
    users, _, prior = start
    gram = users.values.T.astype(np.float64) @ users.values
    lengths = []
    for exposure in (0.0, 0.5, 1.0):
        rows = without_plays(replace(prior, exposure=np.full(TRACKS, exposure, np.float32)), gram, settings())
        lengths.append(np.linalg.norm(rows, axis=1))
        if exposure == 0:
            assert rows == pytest.approx(prior.factors.values * 4 / (2 + 4), rel=1e-5)
    assert (lengths[0] > lengths[1]).all() and (lengths[1] > lengths[2]).all()


def test_a_played_track_without_a_prior_is_an_error(plays, start, frame_of):
    users, tracks, prior = start
    with pytest.raises(DataCheckError, match="1 of 40 played tracks have no prior"):
        join(frame_of(plays), users, tracks, prior.where(prior.factors.idx != 2), settings(), 2)
