"""Share arrays among the ranks of a machine: one copy of both sides' factors, however many ranks read them."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etude import machine
from etude.factors.barrier.ring import Ring

_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Common:
    """Hold what the ranks of a machine share.

    Attributes:
        values: side -> (n, rank) float32, mapped by all ranks of this machine.
        groups: the ranks of each machine, ascending; the machine of the lowest rank first.
    """

    values: dict[str, np.ndarray]
    groups: list[list[int]]

    def group_of(self, rank: int) -> int:
        """Return the number of the group that a rank belongs to."""
        return next(n for n, group in enumerate(self.groups) if rank in group)


def share(shapes: Mapping[str, tuple[int, int]], ring: Ring) -> Common:
    """Map one file of zeros on each machine, and remove its name: it ends with the last rank that maps it.

    Ranks share a file if they run on one machine and see each other's files (containers of one machine don't).

    Args:
        shapes: side -> (n, rank).
        ring: all ranks.

    Raises:
        OSError: there is no room for the file.
    """
    size = max(1, sum(4 * n * rank for n, rank in shapes.values()))
    handle, name = tempfile.mkstemp(prefix="etude-factors-", dir=_folder(size))
    with open(handle, "r+b") as mine:
        try:
            told = ring.gather(f"{machine.identity()}\n{name}".encode())
            names = [text.decode().split("\n") for text in told]
            leader = next((where for host, where in names if host == machine.identity() and Path(where).exists()), name)
            with open(leader, "r+b") as shared:
                leaders = ring.gather(f"{machine.identity()}\n{leader}".encode())  # now all have opened it
                Path(name).unlink()
                if leader == name:
                    _reserve(mine.fileno(), size)
                ring.gather()
                mapped = mmap.mmap(shared.fileno(), size)
        finally:
            Path(name).unlink(missing_ok=True)
    groups: dict[bytes, list[int]] = {}
    for rank, text in enumerate(leaders):
        groups.setdefault(text, []).append(rank)
    values, first = {}, 0
    for side, (n, rank) in shapes.items():
        values[side] = np.frombuffer(mapped, np.float32, n * rank, first).reshape(n, rank)
        first += 4 * n * rank
    return Common(values, list(groups.values()))


def _folder(size: int) -> Path:
    """Return the folder of shared memory if there is room; containers often have 64 MB of it."""
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > size:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _reserve(handle: int, size: int) -> None:
    """Give a file its blocks now: a page without one would end the process (SIGBUS) when it is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.ftruncate(handle, size)
