"""Says now and then how far a Spark action is, from a counter that its tasks feed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 30.0


@contextmanager
def watched(
    log: logging.Logger, what: str, done: Callable[[], int], total: int, every_s: float = _EVERY_S
) -> Iterator[None]:
    """While the body runs, log `done()` of `total` every so many seconds (Spark adds up when a task ends)."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            log.info("progress=%s done=%d total=%d", what, done(), total)

    thread = threading.Thread(target=watch, name=f"watch {what}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
