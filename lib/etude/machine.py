"""Describe the machine that a process runs on."""

from __future__ import annotations

import os


def cores() -> int:
    """Return the number of cores that this process may use: fewer than the machine's if CPU affinity limits it.

    On macOS, which doesn't report CPU affinity, return the machine's cores.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
