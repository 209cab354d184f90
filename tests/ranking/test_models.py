"""Test the models behind the figures: calibration, the same-artist mean, head tracks, random lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small
from pydantic import ValidationError

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.ranking.models import cold_scale, head, make_plan, same_artist
from etude.ranking.plan import random_tracks, random_users
from etude.vectors import Factors


def test_predicted_factors_become_as_long_as_those_they_predict():
    known = small.world().known
    truth = known.held_out
    validation = known.facts.of_split("validation")
    plan, scale = make_plan(known, TopnSettings(), EvaluationSettings(protocol="strict"))

    def length(factors):
        return np.linalg.norm(factors.among(validation).values, axis=1).mean()

    assert scale == pytest.approx(length(truth) / length(known.predicted))
    assert length(known.predicted.scaled(scale)) == pytest.approx(length(truth))
    cold = plan.final.parts["cold"]
    vector = cold.vectors[cold.vector_of(np.array([45], np.int32))[0]]
    np.testing.assert_allclose(vector, known.predicted.values[45] * scale, rtol=1e-6)


def test_lists_to_measure_are_no_longer_than_those_to_write():
    EvaluationSettings(k=(10_000,))
    with pytest.raises(ValidationError, match="10000"):
        EvaluationSettings(k=(5, 10_001))


def test_calibration_looks_at_validation_tracks_only():
    known = small.world().known
    rows = known.held_out.values.copy()
    rows[known.held_out.idx >= 45] *= 100
    changed = replace(known, held_out=Factors(known.held_out.idx, rows))
    settings = TopnSettings(), EvaluationSettings(protocol="strict")
    assert make_plan(changed, *settings)[1] == make_plan(known, *settings)[1]
    same = [
        next(model for model in make_plan(some, *settings)[0].models if model.name == "same_artist")
        for some in (changed, known)
    ]
    np.testing.assert_array_equal(*(model.parts["cold"].vectors for model in same))


def test_calibration_can_be_off_and_is_1_without_tracks_to_compare():
    known = small.world().known
    off = make_plan(known, TopnSettings(cold_calibration="none"), EvaluationSettings(protocol="strict"))[1]
    assert off == 1.0
    nothing = Factors(known.predicted.idx, known.predicted.values * 0)
    assert cold_scale(known.held_out, nothing, known.facts) == 1.0
    assert cold_scale(known.fitted, known.predicted.among(np.arange(45, 58)), known.facts) == 1.0


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
