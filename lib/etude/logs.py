"""Log a running job: key=value lines on standard error, and progress."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from etude.storage import shown

_Item = TypeVar("_Item")
_QUIET_S = 30.0


class _Formatter(logging.Formatter):
    """Format lines, and mask the credentials of all URIs in them."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def job_logger() -> logging.Logger:
    """Return the logger `etude`, which writes to standard error; safe to call twice."""
    log = logging.getLogger("etude")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        formatter = _Formatter("time=%(asctime)sZ level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def progress(items: Iterable[_Item], desc: str, total: int | None, log: logging.Logger) -> Iterator[_Item]:
    """Pass items on and show progress.

    If standard error is a terminal, show a tqdm bar. Otherwise log a line after the first item, then every half minute.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=desc, total=total, leave=False)
        return
    last = -_QUIET_S
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _QUIET_S:
            last = time.monotonic()
            log.info("progress=%r done=%d total=%s", desc, done, total if total is not None else "?")


@contextmanager
def every(seconds: float, say: Callable[[], None]) -> Iterator[None]:
    """Call `say` every `seconds` from a separate thread while the body runs."""
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(seconds):
            say()

    thread = threading.Thread(target=speak, name="every", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


_TICKING: list[object] = []


@contextmanager
def ticking(log: logging.Logger, job: str, doing: Callable[[], str], every_s: float = 60.0) -> Iterator[None]:
    """Log the elapsed seconds and the text of `doing` every `every_s` seconds while the body runs.

    Log nothing if standard error is a terminal, which shows Spark's bar. Of nested bodies, only the innermost logs.
    """
    if sys.stderr.isatty():
        yield
        return
    me, started = object(), time.monotonic()

    def tick() -> None:
        if _TICKING[-1] is me:
            log.info("job=%s running seconds=%d %s", job, time.monotonic() - started, doing())

    _TICKING.append(me)
    try:
        with every(every_s, tick):
            yield
    finally:
        _TICKING.remove(me)
