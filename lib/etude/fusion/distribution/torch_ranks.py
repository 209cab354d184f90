"""Run ranks as tasks of one Spark barrier stage, connected by torch.distributed: gloo, and NCCL between GPUs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from etude.fusion.device import assigned_gpus
from etude.fusion.distribution import Work, loopback
from etude.session import LOOPBACK, is_local

_PATIENCE = timedelta(minutes=30)


class TorchRanks:
    """Wrap a rank of torch.distributed's default group."""

    exchanges_gpu = True

    def __init__(self, hosts: list[str], gpus: tuple[str, ...]):
        """Join the group; `hosts` has each rank's machine."""
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.local_rank = hosts[: self.rank].count(hosts[self.rank])
        self.local_size = hosts.count(hosts[self.rank])
        self.gpus = gpus

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Wrap the network; it takes rank 0's weights and averages gradients in the backward pass."""
        return DistributedDataParallel(network), optimizer

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks by gloo, or NCCL if the values lie on a GPU."""
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
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback.interface()
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
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=ranks, timeout=_PATIENCE)
        try:
            yield rank, work(training, TorchRanks(hosts, assigned_gpus(context)))
        finally:
            dist.destroy_process_group()

    found = spark.sparkContext.parallelize(range(ranks), ranks).barrier().mapPartitions(rank_task).collect()
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def _listener(local: bool) -> socket.socket:
    """Return a listening socket: on loopback, or on all addresses, of IPv6 too if the machine has it."""
    if local:
        return socket.create_server((LOOPBACK, 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
