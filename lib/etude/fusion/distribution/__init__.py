"""Run the ranks of a training behind one interface: Horovod, torch.distributed, or one rank in the driver.

A distribution runs `work(training, ranks)` once per rank and returns the results by rank. `ranks` is the work's view of
its peers: its own number, gradients averaged over all, sums over all. Only the modules that need Horovod or
torch.distributed import them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import torch
from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.optim import Optimizer

Work = Callable[[Any, "Ranks"], Any]
"""Function that a rank runs on the training; its result consists of plain Python values."""


class Ranks(Protocol):
    """Describe a rank's view of its peers."""

    rank: int
    size: int
    local_rank: int
    """Number of this rank among those of its machine."""
    local_size: int
    """Ranks on this machine, which share its cores."""
    gpus: tuple[str, ...]
    """Addresses of the GPUs that Spark has assigned to this rank."""
    exchanges_gpu: bool
    """Whether gradients can stay on GPUs when they are averaged."""

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Return the network and optimizer to train with.

        All ranks start with the same weights; gradients are averaged over all ranks before each step. The network
        given keeps the weights. The caller loads the optimizer's state, if any, into the optimizer returned.
        """

    def total(self, values: Tensor) -> Tensor:
        """Return elementwise sums over all ranks; every rank must call it."""


class Distribution(Protocol):
    """Describe the function that runs the ranks."""

    def __call__(self, spark: SparkSession, work: Work, training: Any, ranks: int) -> list[Any]:
        """Run `work(training, ranks)` on each of `ranks` ranks; return the results by rank."""


def chosen_name(setting: str, device: str) -> str:
    """Resolve `train.distribution`: auto is horovod if it is installed with support for torch, otherwise torch.

    For `train.device=cuda`, and for auto where this machine has a GPU, it is horovod only if that was built with NCCL.
    """
    if setting != "auto":
        return setting
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return "horovod" if _horovod_serves(on_gpu) else "torch"


def distribution(name: str) -> Distribution:
    """Return the distribution of that name: horovod, torch or single."""
    if name == "horovod":
        from etude.fusion.distribution.horovod_ranks import run
    elif name == "torch":
        from etude.fusion.distribution.torch_ranks import run
    else:
        from etude.fusion.distribution.single import run
    return run


def _horovod_serves(on_gpu: bool) -> bool:
    if importlib.util.find_spec("horovod") is None:
        return False
    try:
        import horovod.torch
    except (ImportError, OSError):
        return False
    return bool(horovod.torch.gloo_built()) and (not on_gpu or bool(horovod.torch.nccl_built()))
