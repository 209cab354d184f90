"""Ranks and tasks find the GPUs that are theirs. The machines are pretended, but for the last test."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from etude.errors import SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.device import CPU, assigned_gpus, moved, of_rank, of_task
from etude.fusion.distribution.single import SingleRank
from etude.fusion.loop import work
from fusion.planted import training_of


@dataclass
class Rank:
    """One of several ranks; `others` of them have said that they have a GPU."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    gpus: tuple[str, ...] = ()
    exchanges_gpu: bool = True
    others: int | None = None

    def total(self, values):
        return values + (self.size - 1 if self.others is None else self.others)


def gpus(count):
    return SimpleNamespace(is_available=lambda: count > 0, device_count=lambda: count)


def test_the_ranks_of_two_hosts_with_four_gpus_take_one_each():
    ranks = [Rank(4 * host + place, 8, place, 4) for host in range(2) for place in range(4)]
    assert [of_rank("auto", rank, gpus(4)).index for rank in ranks] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_rank_takes_the_gpu_that_spark_assigned():
    assert of_rank("cuda", Rank(2, 4, 1, 2, gpus=("3",)), gpus(4)) == torch.device("cuda", 3)


@pytest.mark.parametrize(
    ("rank", "found", "said"),
    [
        (Rank(), 0, "torch finds no GPU"),
        (Rank(exchanges_gpu=False), 1, "this build of Horovod exchanges no gradients"),
        (Rank(0, 2, 0, 2), 1, "2 ranks of its machine need as many GPUs, and torch finds 1"),
        (Rank(gpus=("4",)), 4, "Spark assigned GPU 4, and torch finds 4"),
        (Rank(gpus=("GPU-1f2e",)), 4, "Spark assigned GPU GPU-1f2e"),
    ],
)
def test_without_a_gpu_of_its_own_a_rank_uses_the_cpu_or_says_why_it_can_not(rank, found, said, monkeypatch):
    told = []
    monkeypatch.setattr(
        "etude.fusion.device.job_logger", lambda: SimpleNamespace(warning=lambda *line: told.append(line))
    )
    assert of_rank("auto", rank, gpus(found)) == CPU
    assert [line[-1][: len(said)] for line in told] == ([said] if found else [])
    with pytest.raises(SettingsError, match=said):
        of_rank("cuda", rank, gpus(found))


def test_all_ranks_get_a_gpu_or_none():
    """Three others, of which one has none."""
    assert of_rank("auto", Rank(0, 4, others=2), gpus(1)) == CPU
    assert of_rank("auto", Rank(0, 4, others=3), gpus(1)) == torch.device("cuda", 0)
    assert of_rank("cpu", Rank(0, 4), gpus(4)) == CPU


def test_a_task_predicts_on_the_gpu_that_spark_assigned_if_torch_finds_it():
    context = SimpleNamespace(resources=lambda: {"gpu": SimpleNamespace(addresses=["2"])})
    assert assigned_gpus(context) == ("2",)
    assert assigned_gpus(SimpleNamespace(resources=dict)) == assigned_gpus(None) == ()
    assert of_task(("2",), gpus(4)) == torch.device("cuda", 2)
    assert of_task(("2",), gpus(2)) == of_task(("2",), gpus(0)) == of_task((), gpus(4)) == CPU


def test_on_the_cpu_a_batch_stays_where_it_is():
    batch = {"mel": torch.zeros(2, 3)}
    assert moved(batch, CPU)["mel"] is batch["mel"]


@pytest.mark.slow
def test_bfloat16_learns_as_much_and_keeps_weights_in_float32(tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = training_of(tmp_path / precision, epochs=8, precision=precision)
        losses[precision] = work(training, SingleRank())[-1]["validation_loss"]
        weights = checkpoints.read(checkpoints.last_uri(training.folder)).weights
        assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_what_the_cpu_learns(tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        training = training_of(tmp_path / device, epochs=8, device=device, dropout=0.0)
        losses[device] = [epoch["validation_loss"] for epoch in work(training, SingleRank())]
        checkpoints.read(checkpoints.best_uri(training.folder)).network()
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.01)
