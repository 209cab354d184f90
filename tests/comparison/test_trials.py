"""Which trainings a comparison consists of."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from etude.arguments import Arguments, check_room
from etude.comparison import steps
from etude.comparison.trials import ABLATIONS, MODELS, OPTIONS, rates, trials
from etude.config import load_settings
from etude.config.compare import CompareSettings
from etude.config.demo import DemoSettings
from etude.config.train import TrainSettings
from etude.errors import SettingsError

CONF = Path(__file__).resolve().parents[2] / "conf" / "demo.yaml"


def arguments(*overrides):
    return Arguments(load_settings([CONF], overrides), date(2026, 1, 31), "compare")


def test_every_network_is_a_setting_of_train_and_every_name_fits_a_run_id():
    for variant in (*MODELS.values(), *ABLATIONS, *OPTIONS, *rates(CompareSettings())):
        TrainSettings.model_validate({**TrainSettings().model_dump(), **variant.train})
        assert re.fullmatch(r"[a-z0-9_.-]+", variant.name) and len(f"-strict-{variant.name}-99") <= 24


def test_parts_share_their_trainings_and_each_seed_comes_whole():
    planned = trials(CompareSettings())
    names = [trial.name for trial in planned]
    assert len(names) == len(set(names)) == 5 * (2 * 6 + 4 + 3 + 5)
    assert {trial.seed for trial in planned[: len(planned) // 5]} == {1}
    assert {trial.protocol for trial in planned if trial.variant.of_rates} == {"strict"}
    assert trials(CompareSettings(parts=("knobs",))) == []
    few = trials(CompareSettings(parts=("table1",), models=("cnn",), seeds=(3,), protocols=("paper",)))
    assert [trial.name for trial in few] == ["paper-cnn-3"]


def test_a_training_has_its_protocol_its_seed_and_the_factorisation_of_its_protocol():
    trial = trials(CompareSettings(parts=("ablations",), seeds=(4,)))[2]
    step = steps.train_step(arguments("train.epochs=7"), trial)
    settings = step.arguments.settings
    assert (step.stage, step.arguments.run_id) == ("train", "compare-strict-no_artist-4")
    assert (settings.evaluation.protocol, settings.inputs.wmf_run_id) == ("strict", "compare-strict")
    assert (settings.train.seed, settings.train.epochs, settings.train.fields) == (4, 7, ("year", "tags"))
    first = steps.first_steps(arguments(), ("strict", "paper"))
    assert [(each.stage, each.arguments.run_id) for each in first] == [
        *(("ingest", "compare"), ("mel", "compare"), ("wmf", "compare-strict"), ("wmf", "compare-paper")),
    ]
    assert [each.arguments.settings.evaluation.protocol for each in first] == ["none", "none", "strict", "paper"]


def test_a_long_run_id_is_refused():
    check_room("x" * 40, steps.LONGEST_RUN_ID, "a comparison's")
    with pytest.raises(SettingsError, match="at most 40"):
        check_room("x" * 41, steps.LONGEST_RUN_ID, "a comparison's")


@pytest.mark.parametrize("share", (0.0, 0.3, 0.9, 1.0))
def test_a_knob_moves_the_audible_share_and_leaves_the_other_shares_their_proportions(share):
    before = DemoSettings()
    found = DemoSettings.model_validate(steps.knob_corpus(before, share).model_dump())
    assert found.share_audible == share and found.artist_cohesion == 0
    assert found.share_hidden == pytest.approx(before.share_hidden * (1 - share) / (1 - before.share_audible))
    assert found.share_artist * before.share_tags == pytest.approx(found.share_tags * before.share_artist)


def test_a_corpus_of_a_knob_has_its_own_files_and_lake(tmp_path):
    moved = steps.knob_arguments(arguments(), tmp_path).settings
    landing = str(tmp_path)
    assert moved.listening.path == f"{landing}/plays" and moved.audio.manifest == f"{landing}/manifest.csv"
    assert all(source.path.startswith(landing) for source in moved.catalogue.sources)
    assert moved.lake.root == str(tmp_path / "lake")
    assert moved.train == arguments().settings.train
    with pytest.raises(SettingsError, match="demo corpus"):
        steps.knob_arguments(Arguments(load_settings(), date(2026, 1, 31), "c"), tmp_path)
