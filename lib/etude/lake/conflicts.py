"""Retry commits that lost a race to another writer, for Spark and deltalake alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

_CONFLICTS = (
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentTransactionException",
    "ConcurrentWriteException",
    "MetadataChangedException",
    "ProtocolChangedException",
    "CommitFailedError",  # deltalake's name for all of them
)


def _is_conflict(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}"
    return any(name in text for name in _CONFLICTS)


def no_fence() -> None:
    """Let every write pass."""


@retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.5, max=20),
    reraise=True,
)
def commit(write: Callable[[], Any], fence: Callable[[], None] = no_fence) -> None:
    """Commit by `write`, again if another writer was quicker: runs that may overlap write disjoint rows.

    Args:
        write: makes one commit on the newest version of a table.
        fence: raises if this run may not write any more; asked before each attempt. A run that stalls during a commit,
            while another takes over its lease and writes, loses the race, and then doesn't pass.
    """
    fence()
    write()
