"""Describe the machine that a process runs on, and its processes."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def cores() -> int:
    """Return the number of cores that this process may use: fewer than the machine's if CPU affinity limits it.

    On macOS, which doesn't report CPU affinity, return the machine's cores.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def identity() -> str:
    """Return what tells this set of process ids from all others: boot and namespace, which containers have each."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{uuid.getnode():x}"


def runs(pid: int, start: int = 0) -> bool:
    """Tell if a process runs; with `start`, if it is the one that started then.

    A zombie has ended, but the first process of a container may never collect it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    known = _stat(pid)
    if not known:
        return True
    return known[0] not in ("Z", "X") and start in (0, int(known[19]))


def started(pid: int) -> int:
    """Return when a process started, in ticks since the boot; 0 if the system doesn't say."""
    known = _stat(pid)
    return int(known[19]) if known else 0


def umask() -> int:
    """Return the mask of permissions that files of this process don't get."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; none on other systems, or if they can't be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
