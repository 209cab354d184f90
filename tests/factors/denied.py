"""Be one rank on a machine of its own with little memory: `denied.py FOLDER RANK RANKS MB MOST_SHARE`."""

from __future__ import annotations

import pickle
import resource
import sys
import time
from pathlib import Path

from barrier_fits import Fitted
from dense import small_interactions

from etude.factors.barrier import held, memory
from etude.factors.barrier.rank import work
from etude.factors.barrier.ring import Door
from etude.factors.barrier.rows import received


def main(folder: Path, rank: int, ranks: int, megabytes: int, share: float) -> None:
    task, key = pickle.loads((folder / "task").read_bytes())
    mine = received(pickle.loads((folder / f"chunks-{rank}").read_bytes()), task.deals, rank)
    Fitted(folder / f"small-{rank}", 1, task.settings, small_interactions()).run()  # loads libraries and kernels
    memory.machine.identity = lambda: f"machine {rank}"
    held.MOST_SHARE = share

    def announce(text: str) -> list[str]:
        (folder / f"said-{rank}.part").write_text(text)
        (folder / f"said-{rank}.part").rename(folder / f"said-{rank}")
        told = [folder / f"said-{each}" for each in range(ranks)]
        while not all(path.exists() for path in told):
            time.sleep(0.05)
        return [path.read_text() for path in told]

    door = Door(None, key, announce)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = now + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    work(task, rank, mine, door, ranks)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
