"""Run ranks as threads of one process, without Spark."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etude.factors.barrier.ring import Door, new_key


class Together:
    """Run a function as each of `size` ranks, at once."""

    def __init__(self, size: int):
        self.size = size
        self._key = new_key()
        self._barrier = threading.Barrier(size)
        self._texts = [""] * size

    def run(self, member: Callable[[int, Door], Any]) -> list[Any]:
        """Return the results of `member(rank, door)` by rank."""

        def rank_of(rank: int) -> Any:
            threading.current_thread().name = f"rank {rank}"

            def announce(text: str) -> list[str]:
                self._texts[rank] = text
                self._barrier.wait(10)
                return list(self._texts)

            door = Door(None, self._key, announce)
            try:
                return member(rank, door)
            finally:
                door.close()

        with ThreadPoolExecutor(self.size) as threads:
            return [each.result(60) for each in [threads.submit(rank_of, rank) for rank in range(self.size)]]
