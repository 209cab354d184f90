"""Log the progress of a Spark action at intervals, from a counter that its tasks update."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from etude.logs import every

_EVERY_S = 30.0


def watched(
    log: logging.Logger, what: str, done: Callable[[], int], total: int, every_s: float = _EVERY_S
) -> AbstractContextManager[None]:
    """Log `done()` of `total` every `every_s` seconds while the body runs (Spark updates counters when a task ends)."""
    return every(every_s, lambda: log.info("progress=%s done=%d total=%d", what, done(), total))
