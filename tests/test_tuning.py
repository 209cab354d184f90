"""Which settings a search tries, keeps and writes."""

from __future__ import annotations

from datetime import date

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from etude.arguments import Arguments
from etude.config import load_settings
from etude.config.tune import TuneSettings
from etude.config.wmf import WmfSettings
from etude.errors import InputMissingError, SettingsError
from etude.tuning import Point, best, layer, points, steps_of, value_of

GIVEN = WmfSettings(confidence="linear", alpha=7, regularization=11)


def test_the_first_point_has_the_settings_as_given_and_the_others_lie_within_the_limits():
    tune = TuneSettings(points=200, alpha=(0.5, 8), regularization=(2, 50), confidence=("log",))
    first, *others = points(GIVEN, tune)
    assert first == Point("linear", 7, 11)
    assert len(others) == 199 == len(set(others))
    assert {point.confidence for point in others} == {"log"}
    assert all(0.5 <= point.alpha <= 8 and 2 <= point.regularization <= 50 for point in others)
    middle = sorted(point.regularization for point in others)[99]
    assert 8 < middle < 13  # even by the logarithm: half of them lie below 10
    assert points(GIVEN, tune) == [first, *others]
    assert points(GIVEN, tune.model_copy(update={"seed": 2}))[1:] != others


@given(st.dictionaries(st.integers(0, 50), st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_the_best_are_kept_best_first(values, share):
    kept = best(values, share)
    assert 1 <= len(kept) <= len(values) and len(kept) >= share * len(values) - 1e-9
    assert [values[n] for n in kept] == sorted((values[n] for n in kept), reverse=True)
    assert all(values[n] <= values[kept[-1]] for n in values.keys() - kept)


def test_a_trial_is_measured_by_validation_plays_and_reads_no_other_run():
    asked = ["inputs.wmf_run_id=w", "evaluation.k=[5]", "tune.k=7", "topn.n=3", "evaluation.per_user=true"]
    arguments = Arguments(load_settings((), asked), date(2026, 1, 31), "t")
    steps = steps_of(Point("log", 2.0, 3.0), 4, 16, arguments)
    assert [(step.stage, step.arguments.run_id) for step in steps] == [("wmf", "t-4-rank16"), ("topn", "t-4-rank16")]
    settings = steps[1].arguments.settings
    assert (settings.evaluation.protocol, settings.evaluation.measured_split) == ("strict", "validation")
    assert (settings.evaluation.k, settings.topn.n, settings.topn.factors) == ((7,), 7, "separate")
    assert not settings.evaluation.per_user and settings.inputs.wmf_run_id == "t-4-rank16"
    wmf = settings.wmf
    assert (wmf.rank, wmf.confidence, wmf.alpha, wmf.regularization) == (16, "log", 2.0, 3.0)


def test_a_trial_is_worth_what_its_lists_of_warm_tracks_are():
    def row(model, slice_, metric, k, value):
        return {"model": model, "slice": slice_, "metric": metric, "k": k, "value": value}

    rows = [
        *(row("popularity", "warm", "ndcg", 100, 0.9), row("wmf", "all", "ndcg", 100, 0.8)),
        *(
            row("wmf", "warm", "ndcg", 10, 0.7),
            row("wmf", "warm", "recall", 100, 0.6),
            row("wmf", "warm", "ndcg", 100, 0.5),
        ),
    ]
    assert value_of(rows, TuneSettings()) == 0.5
    assert value_of(rows, TuneSettings(metric="recall")) == 0.6
    with pytest.raises(InputMissingError, match="no map@100"):
        value_of(rows, TuneSettings(metric="map"))


def test_the_layer_is_read_as_settings(tmp_path):
    file = tmp_path / "found.yaml"
    file.write_text(layer(Point("linear", 0.00001, 3.5), 48, "Found by somebody:\nand so on."))
    found = load_settings([file]).wmf
    assert (found.rank, found.confidence, found.alpha, found.regularization) == (48, "linear", 0.00001, 3.5)
    assert file.read_text().startswith("# Found by somebody:\n# and so on.\nwmf:\n")
    assert list(yaml.safe_load(file.read_text())) == ["wmf"]


@pytest.mark.parametrize("override", ["tune.ranks=[64,32]", "tune.alpha=[5,1]", "tune.regularization=[0,1]"])
def test_limits_ascend_and_are_positive(override):
    with pytest.raises(SettingsError, match=override.partition("=")[0].removeprefix("tune.").split(".")[-1]):
        load_settings((), [override])
