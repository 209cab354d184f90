"""One rank, in the driver's own process."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.optim import Optimizer

from etude.fusion.distribution import Work


class SingleRank:
    """A rank without peers."""

    rank = 0
    size = 1
    local_size = 1

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Nothing to do."""
        return network, optimizer

    def total(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values


def run(spark: SparkSession, work: Work, plan: Any, ranks: int) -> list[Any]:  # noqa: ARG001
    """See Distribution; `ranks` is 1."""
    return [work(plan, SingleRank())]
