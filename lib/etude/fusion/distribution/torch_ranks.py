"""Run ranks as tasks of one Spark barrier stage, connected by torch.distributed over gloo."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from etude.fusion.distribution import Work

_PATIENCE = timedelta(minutes=30)


class GlooRanks:
    """Wrap a rank of torch.distributed's default group."""

    def __init__(self, local_size: int):
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.local_size = local_size

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Wrap the network; it takes rank 0's weights and averages gradients in the backward pass."""
        return DistributedDataParallel(network), optimizer

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks by gloo."""
        values = values.clone()
        dist.all_reduce(values)
        return values


def run(spark: SparkSession, work: Work, training: Any, ranks: int) -> list[Any]:
    """Run the ranks, see Distribution."""

    def rank_task(_: Iterable[int]) -> Iterator[tuple[int, Any]]:
        context = BarrierTaskContext.get()
        rank = context.partitionId()
        hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        addresses = context.allGather(_free_address(hosts[0]) if rank == 0 else "")
        dist.init_process_group(
            "gloo", init_method=f"tcp://{addresses[0]}", rank=rank, world_size=ranks, timeout=_PATIENCE
        )
        try:
            yield rank, work(training, GlooRanks(hosts.count(hosts[rank])))
        finally:
            dist.destroy_process_group()

    found = spark.sparkContext.parallelize(range(ranks), ranks).barrier().mapPartitions(rank_task).collect()
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def _free_address(host: str) -> str:
    """Return host:port with a port of the first rank's machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{host}:{probe.getsockname()[1]}"
