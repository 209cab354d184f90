"""Run a program and measure it: wall time, processor time, and the peak memory of all its processes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_S = 0.5


@dataclass
class Measured:
    """Hold what one program took; `peak_mb` sums the proportional set size (PSS) of its processes."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str

    @property
    def last_line(self) -> str:
        """Return the last line of the standard output."""
        return self.output.strip().splitlines()[-1] if self.output.strip() else ""

    def figures(self) -> dict[str, float]:
        """Return the numbers alone."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mb": self.peak_mb}


def run(command: Sequence[str], log: Path) -> Measured:
    """Run a program, its standard error into `log`.

    Raises:
        CalledProcessError: it failed.
    """
    before, begun = os.times(), time.monotonic()
    with log.open("w") as errors:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        watch = _Watch(program.pid)
        out, _ = program.communicate()
    peak = watch.stop()
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, command, out)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(time.monotonic() - begun, cpu, peak / 1024, out)


class _Watch(threading.Thread):
    """Sum the memory of a process and of all that descend from it, now and then."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak_kb, self.ended = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(_POLL_S):
            self.peak_kb = max(self.peak_kb, sum(map(_pss_kb, _family(self.pid))))

    def stop(self) -> int:
        self.ended.set()
        self.join()
        return self.peak_kb


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def machine() -> dict[str, Any]:
    """Return what the figures were made on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 2**20
    return {
        "processor": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": memory,
        "python": platform.python_version(),
    }


def write(path: str, figures: dict[str, Any], **measured: Measured) -> None:
    """Write the figures of a benchmark as JSON, with the machine."""
    rows = {name: each.figures() for name, each in measured.items()}
    save(path, {"machine": machine(), "measured": rows, **figures})


def save(path: str, content: dict[str, Any]) -> None:
    """Write figures as JSON, and print them."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=1) + "\n")
    json.dump(content, sys.stdout, indent=1)
    print()
