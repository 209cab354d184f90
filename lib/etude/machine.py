"""The machine that a process runs on."""

from __future__ import annotations

import os


def cores() -> int:
    """Processor cores that this process may use: fewer than the machine has where it is confined (not on macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
