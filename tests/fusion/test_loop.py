"""Test the training of one rank."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from etude import storage
from etude.causes import NOT_FINITE
from etude.config.train import TrainSettings
from etude.errors import DataCheckError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.checkpoint import EpochFigures
from etude.fusion.distribution.single import SingleRank
from etude.fusion.loop import best_epoch, finished, read_reason, reason_uri, step_size, work
from fusion.planted import plant, training_of

pytestmark = pytest.mark.slow


def last_weights(training) -> dict[str, torch.Tensor]:
    return checkpoints.read(checkpoints.last_uri(training.folder)).weights


def assert_same_weights(one, other, atol=1e-6):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name], other[name], atol=atol), name


@pytest.mark.parametrize("model", ("fusion", "autoencoder", "cnn", "cnn_lstm", "embeddings"))
def test_every_model_learns_what_was_planted(tmp_path, model):
    training = training_of(tmp_path, plant(400), model=model, epochs=12, batch_size=16)
    history = work(training, SingleRank())
    assert len(history) == 12
    assert min(figures["validation_loss"] for figures in history) < 0.93
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_the_checkpoint_holds_the_best_epoch_and_the_last(tmp_path):
    training = training_of(tmp_path, epochs=30, patience=3, learning_rate=0.05, dropout=0.0, unknown_share=0.0)
    history = work(training, SingleRank())
    losses = [figures["validation_loss"] for figures in history]
    best, last = (checkpoints.read(uri(training.folder)) for uri in (checkpoints.best_uri, checkpoints.last_uri))
    assert len(history) < 30
    assert last.epoch == len(history)
    assert best.epoch == int(np.argmin(losses)) + 1 == len(history) - 3
    assert best.optimizer == {}
    assert (last.origin, last.shape, last.vocabulary) == (training.origin, training.shape, training.vocabulary)
    assert last.settings == training.settings


def test_a_scaled_step_size_grows_to_that_of_all_ranks():
    scaled = TrainSettings(learning_rate=0.01, learning_rate_scaling="linear", warmup_epochs=2)
    assert [step_size(scaled, 4, epochs) for epochs in (0, 0.5, 1, 2, 9)] == pytest.approx(
        [0.01, 0.0175, 0.025, 0.04, 0.04]
    )
    assert {step_size(scaled, 1, epochs) for epochs in (0, 1, 2, 9)} == {0.01}
    assert step_size(TrainSettings(learning_rate=0.01), 4, 3) == 0.01


def test_the_optimizer_takes_the_scaled_step_size(tmp_path):
    class OneOfFour(SingleRank):
        """The first of four ranks; the others are not there."""

        size = 4

    training = training_of(tmp_path, epochs=2, learning_rate_scaling="linear", warmup_epochs=1, batch_size=2)
    work(training, OneOfFour())
    (group,) = checkpoints.read(checkpoints.last_uri(training.folder)).optimizer["param_groups"]
    assert group["lr"] == pytest.approx(4 * training.settings.learning_rate)


def test_every_epoch_is_kept_if_asked_for(tmp_path):
    kept, not_kept = training_of(tmp_path / "1", keep_epochs=True), training_of(tmp_path / "2")
    for training in (kept, not_kept):
        work(training, SingleRank())
    assert not storage.exists(checkpoints.epoch_uri(not_kept.folder, 3))
    weights = [checkpoints.read(checkpoints.epoch_uri(kept.folder, epoch)).weights for epoch in (1, 2, 3)]
    assert_same_weights(weights[2], last_weights(not_kept), atol=0)
    assert not torch.allclose(weights[0]["output.weight"], weights[2]["output.weight"], atol=1e-4)


@pytest.mark.parametrize("stop", (1, 2))
def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path, stop):
    whole = training_of(tmp_path / "whole", epochs=4)
    unbroken = work(whole, SingleRank())
    broken = training_of(tmp_path / "broken", epochs=4)
    first = dataclasses.replace(broken, settings=broken.settings.model_copy(update={"epochs": stop}))
    assert len(work(first, SingleRank())) == stop
    torch.manual_seed(99)  # another process starts with other random numbers
    resumed = work(dataclasses.replace(broken, moments={}), SingleRank())
    assert_same_weights(last_weights(whole), last_weights(broken))
    curve = [[figures[name] for name in ("epoch", "train_loss", "validation_loss")] for figures in resumed]
    assert np.allclose(curve, [[f[name] for name in ("epoch", "train_loss", "validation_loss")] for f in unbroken])


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path):
    first, again = training_of(tmp_path / "1", epochs=1), training_of(tmp_path / "2", epochs=1)
    other = training_of(tmp_path / "3", epochs=1, seed=2)
    for training in (first, again, other):
        work(training, SingleRank())
    assert_same_weights(last_weights(first), last_weights(again), atol=0)
    assert not torch.allclose(last_weights(first)["output.weight"], last_weights(other)["output.weight"], atol=1e-3)


def test_readers_lead_to_the_same_weights(tmp_path):
    arrow, petastorm = training_of(tmp_path / "1", epochs=1), training_of(tmp_path / "2", epochs=1, reader="petastorm")
    for training in (arrow, petastorm):
        work(training, SingleRank())
    assert_same_weights(last_weights(arrow), last_weights(petastorm), atol=0)


def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path):
    planted = plant(120)
    bad = int(np.flatnonzero(planted.split == "train")[40])
    planted.factors[bad, 2] = np.nan
    training = training_of(tmp_path, planted)
    training.moments["target"] = dataclasses.replace(
        training.moments["target"], mean=np.zeros(6, "f4"), std=np.ones(6, "f4")
    )
    with pytest.raises(DataCheckError, match=rf"not finite in epoch 1; the batch holds track_idx \[{bad}\]") as told:
        work(training, SingleRank())
    reason = read_reason(reason_uri(training.folder, 0))
    assert (type(reason), str(reason)) == (DataCheckError, str(told.value))
    assert not storage.exists(checkpoints.last_uri(training.folder))


def test_a_diverging_training_stops(tmp_path):
    with pytest.raises(DataCheckError, match=NOT_FINITE):
        work(training_of(tmp_path, learning_rate=1e30, epochs=20), SingleRank())


def test_the_drivers_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(7)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(7)
    work(training_of(tmp_path, epochs=1), SingleRank())
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def figures(*losses: float | None) -> list[EpochFigures]:
    return [EpochFigures(epoch, 1.0, loss, 1.0, 0.0, 0) for epoch, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("losses", "best", "done"),
    [
        ((), 0, False),
        ((3.0, 2.0, 2.0), 2, False),
        ((1.0, 2.0, 3.0), 1, True),
        ((3.0, 2.0, 1.0, 1.5, 1.2), 3, True),
        ((None, None, None), 3, False),
        ((5.0, 4.0, 3.0, 2.0, 1.0, 0.5), 6, True),
    ],
)
def test_best_epoch_and_patience(losses, best, done):
    from etude.config.train import TrainSettings

    assert best_epoch(figures(*losses)) == best
    assert finished(figures(*losses), TrainSettings(epochs=6, patience=2)) is done
