"""Run ranks as processes that horovod.spark.run starts beside Spark tasks, connected by gloo."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cloudpickle
import horovod.spark
import horovod.torch as hvd
from horovod.spark.task import get_available_devices
from pyspark.sql import SparkSession
from torch import Tensor, nn
from torch.optim import Optimizer

from etude.fusion.distribution import Work, loopback
from etude.session import is_local, package_archive


class HorovodRanks:
    """Wrap a rank of Horovod after hvd.init()."""

    def __init__(self) -> None:
        self.rank = hvd.rank()
        self.size = hvd.size()
        self.local_rank = hvd.local_rank()
        self.local_size = hvd.local_size()
        self.gpus = tuple(get_available_devices())
        self.exchanges_gpu = bool(hvd.nccl_built())

    def distribute(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Send rank 0's weights to all ranks, and return an optimizer that averages gradients before each step."""
        hvd.broadcast_parameters(network.state_dict(), root_rank=0)
        return network, hvd.DistributedOptimizer(optimizer, named_parameters=network.named_parameters())

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks by Horovod."""
        return hvd.allreduce(values, op=hvd.Sum)


def run(spark: SparkSession, work: Work, training: Any, ranks: int) -> list[Any]:
    """Run the ranks, see Distribution. The ranks' output goes to this program's standard error.

    Horovod's processes don't inherit the Python path of the task that starts them, so the call carries the package.
    The function that unpacks it is pickled by value, because its module can't be imported yet.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = package_archive(Path(folder)).read_bytes()
    this_module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(this_module)
    local = is_local(spark.sparkContext.master)
    try:
        with loopback.horovod_on_loopback() if local else nullcontext():
            results = horovod.spark.run(
                _unpack_and_work,
                args=(archive, cloudpickle.dumps((work, training))),
                num_proc=ranks,
                use_gloo=True,
                stdout=sys.stderr,
                stderr=sys.stderr,
                verbose=0,
                nics=[loopback.interface()] if local else None,
                # The executors' Python may have another path than the driver's.
                executable=spark.sparkContext.pythonExec,
            )
    finally:
        cloudpickle.unregister_pickle_by_value(this_module)
    return list(results)


def _unpack_and_work(archive: bytes, call: bytes) -> Any:
    """Run the work in a process that can't import this package before it is unpacked."""
    import pickle
    import sys
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "etude.zip"
        package.write_bytes(archive)
        sys.path.insert(0, str(package))
        import horovod.torch as hvd

        from etude.fusion.distribution.horovod_ranks import HorovodRanks

        hvd.init()
        try:
            work, training = pickle.loads(call)
            return work(training, HorovodRanks())
        finally:
            hvd.shutdown()
