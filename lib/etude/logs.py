"""What a job says while it works: key=value lines on standard error, and progress."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
_QUIET_S = 30.0


def job_logger() -> logging.Logger:
    """The logger `etude`, writing to standard error; safe to call twice."""
    log = logging.getLogger("etude")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        formatter = logging.Formatter("time=%(asctime)sZ level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def progress(items: Iterable[_Item], desc: str, total: int | None, log: logging.Logger) -> Iterator[_Item]:
    """Pass items on; a tqdm bar where standard error is a terminal, else a line for the first and every half minute."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=desc, total=total, leave=False)
        return
    last = -_QUIET_S
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _QUIET_S:
            last = time.monotonic()
            log.info("progress=%r done=%d total=%s", desc, done, total if total is not None else "?")
