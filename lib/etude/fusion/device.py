"""Choose where a network computes: on a GPU that Spark has assigned, on that of a rank's place, or on the CPU."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pyspark import TaskContext
from torch import Tensor

from etude.errors import SettingsError
from etude.fusion.distribution import Ranks
from etude.logs import job_logger

CPU = torch.device("cpu")


def of_rank(setting: Literal["auto", "cpu", "cuda"], ranks: Ranks, cuda: Any = torch.cuda) -> torch.device:
    """Return the device of a rank; all ranks must call it, and all get a GPU or none.

    A rank takes the GPU that Spark has assigned to its task. Without an assignment, the ranks of a machine take its
    GPUs in their order, one each: NCCL admits no two ranks on a GPU.

    Args:
        setting: `train.device`; auto takes GPUs if every rank has one.
        ranks: the rank's view of its peers.
        cuda: torch.cuda, or a stand-in.

    Raises:
        SettingsError: the setting is cuda, and the rank can't compute on a GPU.
    """
    lack = "train.device is cpu" if setting == "cpu" else _lack(ranks, cuda)
    if setting == "cuda" and lack is not None:
        raise SettingsError(f"train.device=cuda, rank {ranks.rank}: {lack}; take train.device=auto or cpu")
    if setting == "auto" and lack is not None and cuda.is_available():
        job_logger().warning("train.device=auto rank=%d: no rank computes on a GPU, since %s", ranks.rank, lack)
    with_gpu = int(ranks.total(torch.tensor([float(lack is None)], dtype=torch.float64)).item())
    if with_gpu < ranks.size:
        return CPU
    return torch.device("cuda", int(ranks.gpus[0]) if ranks.gpus else ranks.local_rank)


def _lack(ranks: Ranks, cuda: Any) -> str | None:
    """Return why a rank can't compute on a GPU; None if it can."""
    if not cuda.is_available():
        return "torch finds no GPU"
    if not ranks.exchanges_gpu:
        return "this build of Horovod exchanges no gradients between GPUs (etude doctor; train.distribution=torch does)"
    found = cuda.device_count()
    if ranks.gpus and _assigned(ranks.gpus, cuda) is None:
        return f"Spark assigned GPU {ranks.gpus[0]}, and torch finds {found}, numbered from 0"
    if not ranks.gpus and ranks.local_size > found:
        return f"{ranks.local_size} ranks of its machine need as many GPUs, and torch finds {found}"
    return None


def _assigned(gpus: tuple[str, ...], cuda: Any) -> int | None:
    """Return the number of the first assigned GPU; None if there is none, or torch doesn't find it."""
    return int(gpus[0]) if gpus and gpus[0].isdecimal() and int(gpus[0]) < cuda.device_count() else None


def assigned_gpus(context: TaskContext | None) -> tuple[str, ...]:
    """Return the addresses of the GPUs that Spark has assigned to a task."""
    found = context.resources().get("gpu") if context is not None else None
    return tuple(found.addresses) if found is not None else ()


def of_task(gpus: tuple[str, ...], cuda: Any = torch.cuda) -> torch.device:
    """Return the device for predictions of a task: its first GPU, if Spark has assigned one and torch finds it."""
    number = _assigned(gpus, cuda) if cuda.is_available() else None
    return CPU if number is None else torch.device("cuda", number)


def moved(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return a batch on a device. A GPU copies it from pinned memory, while Python goes on."""
    if device == CPU:
        return batch
    return {name: values.pin_memory().to(device, non_blocking=True) for name, values in batch.items()}
