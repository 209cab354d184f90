"""Running the ranks of a training behind one interface: Horovod, torch.distributed, or one rank in the driver.

A distribution runs `work(plan, ranks)` once a rank and returns what each gave, by rank. `ranks` is what the work sees
of its peers: its place among them, gradients averaged over all, sums over all. Imports of Horovod and torch.distributed
stay inside the modules that need them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.optim import Optimizer

Work = Callable[[Any, "Ranks"], Any]
"""What a rank does with the plan; what it returns is made of plain Python values."""


class Ranks(Protocol):
    """A rank's view of its peers."""

    rank: int
    size: int
    local_size: int
    """Ranks on this machine, which share its cores."""

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """What to train with: same weights everywhere, gradients averaged over all ranks before each step.

        The network given keeps the weights. The optimizer's state, if any, is loaded into the one returned.
        """

    def total(self, values: Tensor) -> Tensor:
        """Sums over all ranks, place by place; every rank has to call it."""


class Distribution(Protocol):
    """What runs the ranks."""

    def __call__(self, spark: SparkSession, work: Work, plan: Any, ranks: int) -> list[Any]:
        """`work(plan, ranks)` on each of `ranks` ranks; results by rank."""


def chosen_name(setting: str) -> str:
    """What `train.distribution` means here: auto is horovod where it is installed with torch's part, else torch."""
    if setting != "auto":
        return setting
    return "horovod" if _horovod_imports() else "torch"


def distribution(name: str) -> Distribution:
    """The distribution of that name: horovod, torch or single."""
    if name == "horovod":
        from etude.fusion.distribution.horovod_ranks import run
    elif name == "torch":
        from etude.fusion.distribution.torch_ranks import run
    else:
        from etude.fusion.distribution.single import run
    return run


def _horovod_imports() -> bool:
    if importlib.util.find_spec("horovod") is None:
        return False
    try:
        import horovod.torch
    except (ImportError, OSError):
        return False
    return bool(horovod.torch.gloo_built())
