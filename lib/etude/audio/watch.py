"""Says now and then how far a Spark action is, from a counter that its tasks feed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from etude.logs import every

_EVERY_S = 30.0


def watched(
    log: logging.Logger, what: str, done: Callable[[], int], total: int, every_s: float = _EVERY_S
) -> AbstractContextManager[None]:
    """While the body runs, log `done()` of `total` every so many seconds (Spark adds up when a task ends)."""
    return every(every_s, lambda: log.info("progress=%s done=%d total=%d", what, done(), total))
