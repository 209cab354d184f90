"""Test the models behind the figures: the same-artist mean, head tracks, random lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small
from pydantic import ValidationError

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.ranking.models import head, make_plan, same_artist
from etude.ranking.neighbours import Neighbours
from etude.ranking.plan import PARTS, random_tracks, random_users
from etude.ranking.task import Task


def test_lists_to_measure_are_no_longer_than_those_to_write():
    EvaluationSettings(k=(10_000,))
    with pytest.raises(ValidationError, match="10000"):
        EvaluationSettings(k=(5, 10_001))


def test_the_same_artist_mean():
    known = small.world().known
    facts, fitted = known.facts, known.fitted
    found = same_artist(known)
    assert found.idx.tolist() == list(range(40, 58))
    for track, row in zip(found.idx, found.values, strict=True):
        mine = [i for i in fitted.idx if facts.artist[i] == facts.artist[track] != 0]
        np.testing.assert_allclose(row, fitted.values[mine or fitted.idx].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_the_same_artist_mean_under_paper_uses_training_tracks_only():
    known = small.world().known
    paper = small.paper_world(small.world()).known
    without = replace(known, fitted=paper.fitted.among(np.arange(40, dtype=np.int32)))
    np.testing.assert_array_equal(same_artist(paper).values, same_artist(without).values)


def test_head_tracks_hold_four_fifths_of_the_plays():
    plays = np.array([1, 50, 3, 20, 10, 20, 0], dtype=np.int64)
    tracks = np.arange(7, dtype=np.int32)
    assert head(plays, tracks).tolist() == [1, 3, 5]  # 50 + 20 = 70 of 104, then 90 >= 83.2
    assert head(plays, tracks[tracks != 1]).tolist() == [3, 5, 4]


def test_random_lists_favour_no_track():
    users, tracks = random_users(1, np.arange(4_000)), random_tracks(1, np.arange(50))
    best = (users @ tracks.T).argmax(axis=1)
    shares = np.bincount(best, minlength=50) / 4_000
    assert shares.max() < 0.08
    assert (shares > 0).sum() >= 45
    again = random_users(1, np.arange(10, 20))
    np.testing.assert_array_equal(again, users[10:20])
    assert not np.array_equal(random_users(2, np.arange(10)), users[:10])


@pytest.mark.parametrize("protocol", ["none", "strict"])
def test_only_listable_tracks_are_candidates(protocol):
    known = small.world().known
    listable = np.ones(len(known.facts.plays), np.bool_)
    listable[[3, 50]] = False
    aware = replace(known, facts=replace(known.facts, listable=listable))
    all_, some = (make_plan(each, TopnSettings(), EvaluationSettings(protocol=protocol)) for each in (known, aware))
    assert set(all_.candidates) - set(some.candidates) == {3, 50}
    listed = np.concatenate([each.tracks for each in some.final.parts.values()])
    assert not {3, 50} & set(listed)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_validation_tracks_are_candidates_in_the_place_of_test_tracks_to_choose_settings_by(protocol):
    known = small.world().known
    plans = {
        split: make_plan(known, TopnSettings(), EvaluationSettings(protocol=protocol, measured_split=split))
        for split in ("test", "validation")
    }
    cold = {split: set(np.flatnonzero(plan.part_of == PARTS.index("cold"))) for split, plan in plans.items()}
    assert cold == {"test": set(range(45, 58)), "validation": set(range(40, 45))}
    assert not set(plans["validation"].candidates) & cold["test"]


def test_neighbours_rank_warm_tracks_by_what_a_user_has_heard():
    world = small.world()
    known = world.known
    warm = known.fitted.idx
    random = np.random.default_rng(0)
    similarity = random.random((len(warm), len(warm))).astype(np.float32)
    aware = replace(known, neighbours={"ease": Neighbours(warm, similarity, 10.0)})
    plan = make_plan(aware, TopnSettings(n=5), EvaluationSettings(protocol="strict", k=(5,)))
    (model,) = [each for each in plan.models if each.name == "ease"]
    assert "cold" not in model.slices and {"all", "warm"} <= set(model.slices)
    task, users = Task(plan), small.batch(world, np.arange(small.N_USERS))
    lists = task._slice_list("warm", task._part_lists(model, users, {}))[0]
    for row, heard in enumerate(world.heard):
        mine = np.isin(warm, list(heard))
        scores = np.where(mine, -np.inf, similarity[:, mine].sum(axis=1))
        assert lists[row][:5].tolist() == warm[np.argsort(-scores, kind="stable")][:5].tolist()
