"""Run one rank in the driver's own process."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.optim import Optimizer

from etude.fusion.distribution import Work


class SingleRank:
    """Stand for a rank without peers."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    gpus: tuple[str, ...] = ()
    exchanges_gpu = True

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Return both unchanged."""
        return network, optimizer

    def total(self, values: Tensor) -> Tensor:
        """Return the values unchanged."""
        return values


def run(spark: SparkSession, work: Work, training: Any, ranks: int) -> list[Any]:  # noqa: ARG001
    """Run the one rank, see Distribution; `ranks` is 1."""
    return [work(training, SingleRank())]
