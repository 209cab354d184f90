"""Test the choice of a blend's weight and lengths against a naive one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from etude.factors import choice
from etude.factors.choice import DEFAULT, LONGEST, Sample, choose, gains
from etude.search.candidates import Pairs
from etude.vectors import Factors

RANK, USERS, PLAYED, NEW = 4, 40, 150, 50


def pairs(sets):
    flat = np.array([track for tracks in sets for track in sorted(tracks)], dtype=np.int32)
    return Pairs(np.repeat(np.arange(len(sets)), [len(tracks) for tracks in sets]), flat)


@pytest.fixture
def world():
    """Tastes, tracks that fit them, plays that follow both, and content that knows the tracks roughly.

    Tracks below PLAYED are played; content is half as long as the truth.
    """
    random = np.random.default_rng(1)
    x = random.normal(size=(USERS, RANK)).astype(np.float32)
    y = random.normal(size=(PLAYED + NEW, RANK)).astype(np.float32)
    content = (0.5 * y + random.normal(0, 0.2, y.shape)).astype(np.float32)
    by_taste = np.argsort(-(x @ y.T + random.normal(0, 1.5, (USERS, len(y)))), axis=1)[:, :30]
    heard = [{t for t in row if t < PLAYED and t % 3} for row in by_taste.tolist()]
    withheld = [{t for t in row if t >= PLAYED or t % 3 == 0} for row in by_taste.tolist()]
    noisy = (0.3 * y[:PLAYED] + random.normal(0, 0.5, (PLAYED, RANK))).astype(np.float32)
    idx = np.arange(PLAYED + NEW, dtype=np.int32)

    def solve(prior, weight):
        """Stand for the solution with a prior: between the plays and the prior, as in the real one."""
        mine = prior.among(idx[:PLAYED]).values
        return Factors(idx[:PLAYED], ((noisy + weight * mine) / (1 + weight)).astype(np.float32))

    return Sample(x, pairs(heard), pairs(withheld)), solve, Factors(idx, content), heard, withheld


def naive_gain(x, tracks, heard, withheld, kind):
    """The mean over withheld pairs of a kind of 1 / log2(1 + rank) among all unheard tracks."""
    found = []
    for user, wanted in enumerate(withheld):
        scores = {t: float(np.float32(x[user].astype(float) @ row)) for t, row in tracks.items()}
        order = sorted((t for t in scores if t not in heard[user]), key=lambda t: (-scores[t], t))
        for track in wanted:
            if kind(track):
                rank = 1 + order.index(track) if track in scores else LONGEST + 1
                found.append(1 / math.log2(1 + rank) if rank <= LONGEST else 0.0)
    return np.mean(found)


def test_the_choice_is_the_best_of_the_grid(world, monkeypatch):
    sample, solve, content, heard, withheld = world
    monkeypatch.setattr(choice, "UNPLAYED_LENGTHS", (0.1, 0.5, 1.0, 2.0, 4.0))
    share = 0.3
    found = choose(sample, solve, content, content.idx[PLAYED:], {}, share)

    def gain(tracks, kind):
        return naive_gain(sample.users, tracks, heard, withheld, kind)

    def rows(factors):
        return dict(zip(factors.idx.tolist(), factors.values, strict=True))

    of_played = {
        (w, a): gain(rows(solve(content.scaled(a), w)), lambda t: t < PLAYED)
        for w in choice.WEIGHTS
        for a in choice.PLAYED_LENGTHS
    }
    weight, length = max(of_played, key=of_played.get)
    assert (found.choice.weight, found.choice.played_length) == (weight, length)
    played = rows(solve(content.scaled(length), weight))
    both = {}
    for b in (0.1, 0.5, 1.0, 2.0, 4.0):
        tracks = {**played, **{t: row * np.float32(b) for t, row in rows(content).items() if t >= PLAYED}}
        both[b] = gain(tracks, lambda t: t < PLAYED), gain(tracks, lambda t: t >= PLAYED)
    best = max(both, key=lambda b: (1 - share) * both[b][0] + share * both[b][1])
    assert found.choice.unplayed_length == best
    assert (found.gain_played, found.gain_new) == pytest.approx(both[best], rel=1e-6)
    assert found.played.values == pytest.approx(solve(content.scaled(length), weight).values)


def test_the_more_plays_new_tracks_will_have_the_longer_they_are(world):
    sample, solve, content, *_ = world
    lengths = [
        choose(sample, solve, content, content.idx[PLAYED:], {}, share).choice.unplayed_length
        for share in (0.0, 0.05, 0.3, 1.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_by_default_the_share_is_that_of_validation_tracks_in_the_log(world):
    sample, solve, content, heard, withheld = world
    found = choose(sample, solve, content, content.idx[PLAYED:], {}, None)
    new = sum(t >= PLAYED for tracks in withheld for t in tracks)
    assert found.new_share == pytest.approx(new / sum(len(tracks) for tracks in (*heard, *withheld)))


def test_what_is_given_is_not_chosen(world):
    sample, solve, content, *_ = world
    given = {"weight": 7.0, "played_length": 0.9, "unplayed_length": 0.0}
    found = choose(sample, solve, content, content.idx[PLAYED:], given, None)
    assert vars(found.choice) == given


def test_without_withheld_plays_the_default_stands(world):
    sample, solve, content, *_ = world
    nothing = Sample(sample.users, sample.heard, pairs([set()] * USERS))
    found = choose(nothing, solve, content, content.idx[PLAYED:], {}, None)
    assert found.choice == DEFAULT
    assert np.isnan(found.gain_played) and np.isnan(found.gain_new)
    warm_only = Sample(sample.users, sample.heard, pairs([{0}] * USERS))
    assert (
        choose(warm_only, solve, content, content.idx[:0], {}, None).choice.unplayed_length == DEFAULT.unplayed_length
    )


def test_gains_by_rank():
    lists = np.array([[5, 3, 9], [2, -1, -1], [-1, -1, -1]], np.int32)
    withheld = pairs([{3, 4, 9}, {2}, {7}])
    assert gains(lists, withheld) == pytest.approx([1 / math.log2(3), 0, 1 / 2, 1, 0])
    assert gains(lists[2:], pairs([{7}])).tolist() == [0]
