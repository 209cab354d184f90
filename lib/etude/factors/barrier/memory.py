"""Share arrays among the ranks of a machine: one copy of both sides' factors, however many ranks read them."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from etude import machine, scratch
from etude.factors.barrier.ring import Ring

_SHARED_MEMORY = Path("/dev/shm")


def machines(ring: Ring) -> list[list[int]]:
    """Return the ranks of each machine, ascending; the machine of the lowest rank first.

    Ranks belong to one machine if they see each other's files (containers of one machine don't).

    Args:
        ring: all ranks.
    """
    folders = dict.fromkeys([Path(tempfile.gettempdir()), *([_SHARED_MEMORY] if _has_shared_memory() else [])])
    with ExitStack() as files:
        mine = [
            files.enter_context(tempfile.NamedTemporaryFile(prefix="etude-rank-", dir=each)).name for each in folders
        ]
        told = ring.gather("\n".join([machine.identity(), *mine]).encode())
        said = [text.decode().split("\n") for text in told]
        first = next(rank for rank, (host, *names) in enumerate(said) if host == machine.identity() and _visible(names))
        firsts = ring.gather(b"%d" % first)  # now all have looked
    groups: dict[bytes, list[int]] = {}
    for rank, text in enumerate(firsts):
        groups.setdefault(text, []).append(rank)
    return list(groups.values())


def _visible(names: Sequence[str]) -> bool:
    return all(Path(name).exists() for name in names)


def share(shapes: Mapping[str, tuple[int, int]], here: Ring) -> dict[str, np.ndarray]:
    """Map one file of zeros, and remove its name: it ends with the last rank that maps it.

    If the first rank is killed before all have opened the file, the next fit of this machine removes it.

    Args:
        shapes: side -> (n, rank), the same at all members.
        here: the ranks of a machine.

    Returns:
        side -> (n, rank) float32, which all members see.

    Raises:
        OSError: there is no room for the file.
    """
    size = max(1, sum(4 * n * rank for n, rank in shapes.values()))
    with ExitStack() as until_opened:
        name = _reserved(size, until_opened) if here.place == 0 else ""
        with open(here.gather(name.encode())[0].decode(), "r+b") as file:
            here.gather()  # now all have opened it
            mapped = mmap.mmap(file.fileno(), size)
    values, first = {}, 0
    for side, (n, rank) in shapes.items():
        values[side] = np.frombuffer(mapped, np.float32, n * rank, first).reshape(n, rank)
        first += 4 * n * rank
    return values


def _reserved(size: int, until: ExitStack) -> str:
    """Make a file of some bytes; return its name, which the end of `until` removes.

    It lies in shared memory if there is room: containers often have 64 MB of it, and another fit may be quicker.
    """
    room = _has_shared_memory() and shutil.disk_usage(_SHARED_MEMORY).free > size
    for below in (str(_SHARED_MEMORY), tempfile.gettempdir()) if room else (tempfile.gettempdir(),):
        file = until.enter_context(scratch.passing(below)) / "factors"
        try:
            with file.open("xb") as made:
                _reserve(made.fileno(), size)
        except OSError:
            if below == tempfile.gettempdir():
                raise
            file.unlink()
        else:
            break
    return str(file)


def _has_shared_memory() -> bool:
    return _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)


def _reserve(handle: int, size: int) -> None:
    """Give a file its blocks now: a page without one would end the process (SIGBUS) when it is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.ftruncate(handle, size)
