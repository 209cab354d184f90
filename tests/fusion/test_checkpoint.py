"""Test checkpoints: they restore their whole content, and nothing but tensors and plain values is read."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace

import pytest
import torch

from etude.config.train import TrainSettings
from etude.errors import DataCheckError, SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.distribution.single import SingleRank
from etude.fusion.loop import work
from etude.fusion.training import curves, resumable
from fusion.planted import training_of


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    made = training_of(tmp_path_factory.mktemp("train"), epochs=2, model="embeddings")
    work(made, SingleRank())
    return made


def test_all_of_it_comes_back(training):
    found = checkpoints.read(checkpoints.last_uri(training.folder))
    again = checkpoints.from_bytes(checkpoints.to_bytes(found))
    assert (again.settings, again.shape, again.vocabulary, again.origin, again.history) == (
        training.settings, training.shape, training.vocabulary, training.origin, found.history,
    )  # fmt: skip
    assert again.epoch == 2
    assert all(torch.equal(again.weights[name], found.weights[name]) for name in found.weights)
    assert set(again.optimizer) == {"state", "param_groups"}
    assert not again.network().training
    assert torch.equal(again.network().target_mean, torch.from_numpy(training.moments["target"].mean))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"wmf_run_id": "v"}, "trained with wmf_run_id=w, this run would read wmf_run_id=v"),
        ({"protocol": "none"}, "protocol=none"),
        ({"mel_settings_sha256": "b"}, "mel_settings_sha256=b"),
        ({"track_factors_version": 8}, "wmf run w has run again since"),
    ],
)
def test_a_training_is_resumed_on_its_own_data_only(changed, message):
    origin = checkpoints.Origin("r", "w", 7, "strict", 3, "a")
    origin.check_resumable(replace(origin, examples_version=4))
    with pytest.raises(SettingsError, match=message):
        origin.check_resumable(replace(origin, **changed))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code inside a checkpoint was run",))


def test_what_isnt_a_checkpoint_is_refused_and_never_run(training, tmp_path):
    buffer = io.BytesIO()
    torch.save({"format": 1, "weights": Trap()}, buffer)
    whole = checkpoints.to_bytes(checkpoints.read(checkpoints.last_uri(training.folder)))
    other = io.BytesIO()
    torch.save({"format": 99}, other)
    for data in (buffer.getvalue(), pickle.dumps(Trap()), b"", b"PK\x03\x04", whole[: len(whole) // 2]):
        with pytest.raises(DataCheckError, match="here: not a checkpoint"):
            checkpoints.from_bytes(data, "here")
    with pytest.raises(DataCheckError, match="format 99"):
        checkpoints.from_bytes(other.getvalue())


def test_resuming_needs_the_same_settings_but_for_those_that_change_nothing(training, tmp_path):
    assert resumable(tmp_path.as_uri(), training.settings) is None
    longer = training.settings.model_copy(
        update={"epochs": 9, "patience": None, "reader": "petastorm", "threads": None, "workers": 5}
    )
    assert resumable(training.folder, longer).epoch == 2  # `single` has one rank for any train.workers
    assert resumable(training.folder, longer.model_copy(update={"distribution": "torch", "workers": 1})).epoch == 2
    with pytest.raises(SettingsError, match="1 ranks trained, now 2 would"):
        resumable(training.folder, training.settings.model_copy(update={"distribution": "horovod", "workers": 2}))
    other = training.settings.model_copy(update={"batch_size": 9, "seed": 5})
    with pytest.raises(SettingsError, match=r"train.batch_size was 8, is 9; train.seed was 1, is 5"):
        resumable(training.folder, other)


def test_curves_name_every_epochs_figures(training):
    history = checkpoints.read(checkpoints.last_uri(training.folder)).history
    rows = list(curves(history, TrainSettings(model="embeddings", seed=7)))
    assert {(row.slice, row.metric) for row in rows if row.step} == {
        ("train", "loss"), ("validation", "loss"), ("train", "rows_per_s"), ("train", "input_wait_share"),
        ("train", "dropped_rows"),
    }  # fmt: skip
    assert {row.step for row in rows if row.metric == "loss"} == {1, 2}
    assert {(row.model, row.seed) for row in rows} == {("embeddings", 7)}
    best = [row.value for row in rows if row.metric == "best_epoch"]
    losses = [figures.validation_loss for figures in history]
    assert best == [losses.index(min(losses)) + 1]
