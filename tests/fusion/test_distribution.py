"""Test the contract of the distributions: each gives the same weights after the same steps."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time

import numpy as np
import pytest
import torch

from etude.config.train import TrainSettings
from etude.errors import DataCheckError, EtudeError, SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.distribution import chosen_name, distribution
from etude.fusion.training import check_slots, train_network
from etude.slots import wait_for_slots
from fusion.planted import plant, training_of

pytestmark = pytest.mark.slow

LOG = logging.getLogger("etude")
READERS = {"torch": "arrow", "horovod": "petastorm"}
DISTRIBUTIONS = tuple(READERS)
PLAIN = {"model": "embeddings", "dropout": 0.0, "unknown_share": 0.0}


@pytest.fixture
def needed(request, name):
    """Request the fixtures that the distribution of that name needs."""
    if name == "horovod":
        request.getfixturevalue("needs_horovod")


def trained(spark, folder, **settings) -> tuple[dict[str, torch.Tensor], list]:
    training = training_of(folder, epochs=2, **settings)
    history = train_network(spark, training, LOG)
    return checkpoints.read(checkpoints.last_uri(training.folder)).weights, history


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def single(spark, tmp_path_factory):
    """Return weights and figures of a training without peers."""
    return trained(spark, tmp_path_factory.mktemp("single"), distribution="single")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.usefixtures("needed")
def test_one_rank_gives_the_weights_of_a_single_one(spark, single, tmp_path, name):
    alone, history = single
    found, curve = trained(spark, tmp_path / name, distribution=name, workers=1)
    assert distance(alone, found) < 1e-6
    assert [f.train_loss for f in curve] == pytest.approx([f.train_loss for f in history], abs=1e-6)


def by_hand(folder) -> dict[str, torch.Tensor]:
    """Compute two ranks' steps in one process by definition: with the mean of their gradients."""
    from etude.fusion.networks import build_network
    from etude.fusion.networks.inputs import to_tensors
    from etude.fusion.readers import epoch_batches, reader
    from etude.fusion.shards import training_turn

    training = training_of(folder, **PLAIN)
    torch.manual_seed(training.settings.seed)
    network = build_network(training.settings, training.shape)
    network.set_moments(training.moments)
    adam = torch.optim.Adam(network.parameters(), lr=training.settings.learning_rate)
    columns = (*network.inputs, "target")
    for epoch in (1, 2):
        turns = [
            training_turn(training.training_shards, 1, epoch, rank, 2, training.settings.batch_size)
            for rank in range(2)
        ]
        parts = [epoch_batches(reader("arrow"), columns, turn, 1, epoch) for turn in turns]
        for pair in zip(*parts, strict=True):
            adam.zero_grad()
            for rows in pair:
                batch = to_tensors(rows, training.shape)
                target = network.standardise(batch.pop("target"))
                (torch.nn.functional.mse_loss(network(batch), target) / 2).backward()
            adam.step()
    return network.state_dict()


@pytest.fixture(scope="module")
def two_ranks(spark, tmp_path_factory):
    """Run two trainings in one launch of two ranks; return the result of each rank, and the weights of both."""

    @functools.cache
    def of(name: str) -> tuple[list[tuple], list[dict[str, torch.Tensor]]]:
        def told(trainings, ranks):
            import etude
            from etude.fusion.loop import work

            histories = [work(training, ranks) for training in trainings]
            return histories, (ranks.rank, ranks.size, ranks.local_size), etude.__file__

        folder = tmp_path_factory.mktemp(name)
        common = {"epochs": 2, "distribution": name, "workers": 2}
        plain, whole = PLAIN, {"reader": READERS[name]}
        trainings = [
            training_of(folder / kind, **common, **more) for kind, more in (("plain", plain), ("whole", whole))
        ]
        ranks = distribution(name)(spark, told, trainings, 2)
        return ranks, [checkpoints.read(checkpoints.last_uri(training.folder)).weights for training in trainings]

    return of


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.usefixtures("needed")
def test_two_ranks_step_with_the_mean_of_their_gradients(two_ranks, tmp_path, name):
    """Check also that they import the package that travels with the job."""
    (((history, _), *first), (_, *second)), (weights, _) = two_ranks(name)
    assert distance(by_hand(tmp_path), weights) < 1e-5
    assert len(history) == 2
    assert history[0]["dropped_rows"] > 0
    assert (first[0], second[0]) == ((0, 2, 2), (1, 2, 2))
    assert ".zip/" in first[1] and ".zip/" in second[1]


@pytest.mark.usefixtures("needs_horovod")
def test_two_ranks_of_horovod_and_of_torch_give_the_same_weights(two_ranks):
    """Check it with another reader for each."""
    ((((_, one), *_), _), (_, horovod)), ((((_, other), *_), _), (_, gloo)) = two_ranks("horovod"), two_ranks("torch")
    assert distance(horovod, gloo) < 1e-5
    assert [f["validation_loss"] for f in one] == pytest.approx([f["validation_loss"] for f in other], abs=1e-5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.usefixtures("needed")
def test_a_rank_that_stops_says_why(spark, tmp_path, name):
    planted = plant(120)
    bad = int(np.flatnonzero(planted.split == "train")[3])
    planted.factors[bad, 0] = np.inf
    training = training_of(tmp_path, planted, distribution=name, workers=2)
    training.moments["target"].mean[:], training.moments["target"].std[:] = 0, 1
    with pytest.raises(DataCheckError, match=rf"loss is not finite in epoch 1; the batch holds track_idx \[{bad}\]"):
        train_network(spark, training, LOG)
    assert wait_for_slots(spark, 2, timeout_s=0) == 2


def test_fewer_slots_than_ranks_are_refused_before_anything_starts(spark, tmp_path):
    with pytest.raises(SettingsError, match="3 ranks need 3 free task slots, Spark has 2"):
        train_network(spark, training_of(tmp_path, distribution="torch", workers=3), LOG)


def test_auto_is_horovod_where_it_imports_else_torch(monkeypatch):
    from etude.fusion import distribution as chooser

    monkeypatch.setattr(chooser, "_horovod_serves", lambda on_gpu: not on_gpu)  # built without NCCL
    for there in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert chosen_name("auto", "auto") == ("torch" if there else "horovod")
        assert chosen_name("auto", "cpu") == "horovod"
    assert chosen_name("auto", "cuda") == "torch"
    assert chosen_name("horovod", "cuda") == "horovod"
    monkeypatch.setattr(chooser, "_horovod_serves", lambda on_gpu: False)
    assert chosen_name("auto", "cpu") == "torch"
    assert chosen_name("single", "auto") == "single"
    assert distribution("single").__module__.endswith("single")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.usefixtures("needed")
def test_a_killed_rank_fails_the_training_at_once_and_clearly(spark, tmp_path, monkeypatch, name):
    def dies(training, ranks):
        import os
        import signal

        from etude.fusion.loop import work

        if ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(training, ranks)

    monkeypatch.setattr("etude.fusion.training.work", dies)
    training = training_of(tmp_path, distribution=name, workers=2)
    begun = time.monotonic()
    with pytest.raises(
        EtudeError, match=r"rank (0 and )?1 of 2 ended without an error of its own.*--run-id \S+ --resume"
    ):
        train_network(spark, training, LOG)
    assert time.monotonic() - begun < 60
    assert wait_for_slots(spark, 2, timeout_s=30) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_a_rank_is_not_taken_for_a_lost_one(spark, tmp_path):
    training = training_of(tmp_path, distribution="torch", workers=2, reader="arrow")
    gone = tuple(dataclasses.replace(shard, uri=f"{shard.uri}.gone") for shard in training.training_shards)
    with pytest.raises(Exception, match=r"No such file|gone") as caught:
        train_network(spark, dataclasses.replace(training, training_shards=gone), LOG)
    assert not isinstance(caught.value, EtudeError)


def test_ranks_that_never_began_are_not_taken_for_killed_ones(spark, tmp_path, monkeypatch):
    def no_module(*_):
        raise RuntimeError("Job aborted\nModuleNotFoundError: No module named 'horovod'")

    monkeypatch.setattr("etude.fusion.training.distribution", lambda name: no_module)
    with pytest.raises(RuntimeError, match="No module named 'horovod'"):
        train_network(spark, training_of(tmp_path, distribution="torch", workers=2), LOG)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_gpu_that_is_not_there_is_a_wrong_setting(spark, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    training = training_of(tmp_path, distribution="torch", workers=2, device="cuda")
    with pytest.raises(SettingsError, match=r"train.device=cuda, rank \d: torch finds no GPU"):
        train_network(spark, training, LOG)


def test_ranks_that_would_share_a_gpu_are_refused(spark, monkeypatch):
    monkeypatch.setattr(type(spark.sparkContext), "getConf", lambda _: {"spark.task.resource.gpu.amount": "0.5"})
    with pytest.raises(SettingsError, match=r"gpu.amount=0.5"):
        check_slots(spark, TrainSettings(workers=2, distribution="torch"))
