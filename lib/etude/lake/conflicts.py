"""Retry commits that lost a race to another writer, for Spark and deltalake alike."""

from __future__ import annotations

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


# Writers of shared tables (runs, metrics, rejects) touch disjoint rows, so a commit that lost a race is safe to retry.
retry_conflicts = retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.5, max=20),
    reraise=True,
)
