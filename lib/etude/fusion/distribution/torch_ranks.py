"""Run ranks as tasks of one Spark barrier stage, connected by torch.distributed over gloo."""

from __future__ import annotations

import os
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

from etude.fusion.distribution import Work, loopback
from etude.session import LOOPBACK, is_local

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
    """Run the ranks, see Distribution. Those of a local master listen on loopback only."""
    local = is_local(spark.sparkContext.master)

    def rank_task(_: Iterable[int]) -> Iterator[tuple[int, Any]]:
        context = BarrierTaskContext.get()
        rank = context.partitionId()
        hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        if local:
            os.environ["GLOO_SOCKET_IFNAME"] = loopback.interface()
        # Bound here, since the store alone would listen on all addresses, and a port found free may be taken by then.
        listener = _listener(local) if rank == 0 else None
        port = int(context.allGather("" if listener is None else str(listener.getsockname()[1]))[0])
        store = dist.TCPStore(
            LOOPBACK if local else hosts[0],
            port,
            ranks,
            is_master=listener is not None,
            timeout=_PATIENCE,
            master_listen_fd=None if listener is None else listener.detach(),
        )
        dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=_PATIENCE)
        try:
            yield rank, work(training, GlooRanks(hosts.count(hosts[rank])))
        finally:
            dist.destroy_process_group()

    found = spark.sparkContext.parallelize(range(ranks), ranks).barrier().mapPartitions(rank_task).collect()
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def _listener(local: bool) -> socket.socket:
    """Return a listening socket: on loopback, or on all addresses, of IPv6 too if the machine has it."""
    if local:
        return socket.create_server((LOOPBACK, 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
