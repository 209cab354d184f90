"""Turn a reader's row groups into batches that depend on (seed, epoch, rank, ranks) only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from typing import TypeVar

import numpy as np

from etude.errors import DataCheckError
from etude.fusion.shards import Shard, Turn

_Item = TypeVar("_Item")

Rows = dict[str, np.ndarray]
"""Columns of the same number of rows: (rows,) int32, or (rows, n) float32 or int32."""

Ordered = tuple[Rows, np.ndarray]
"""Rows, and the numbers of some of them in the order to be given: (n,) int64."""

Opener = Callable[[Sequence[Shard], Sequence[str]], AbstractContextManager[Iterator[Rows]]]
"""Opens shards for reading some columns; yields the rows of one row group after the other, in the shards' order."""


def epoch_batches(opener: Opener, columns: Sequence[str], turn: Turn, seed: int, epoch: int) -> Iterator[Rows]:
    """Yield the batches of one training epoch of one rank: exactly `turn.steps` of `turn.batch_size` rows.

    All of the rank's rows are read and counted, including those that no batch holds.

    Raises:
        DataCheckError: the files don't hold the table's rows.
    """
    given = 0
    for rows in _read(opener, columns, turn.shards, turn.batch_size, (seed, epoch)):
        if given < turn.steps:
            given += 1
            yield rows
    if given != turn.steps:
        raise DataCheckError(f"examples: the files gave {given} batches, expected {turn.steps}")


def batches(opener: Opener, columns: Sequence[str], shards: Sequence[Shard], batch_size: int) -> Iterator[Rows]:
    """Yield all rows of some shards once, ordered by shard and track; the last batch may be smaller."""
    if shards:
        yield from _read(opener, columns, shards, batch_size, rest=True)


def _read(
    opener: Opener,
    columns: Sequence[str],
    shards: Sequence[Shard],
    size: int,
    shuffle: tuple[int, int] | None = None,
    rest: bool = False,
) -> Generator[Rows]:
    return _ahead(_cut(_ahead(_whole_shards(opener, columns, shards, shuffle)), size, rest))


def _whole_shards(
    opener: Opener, columns: Sequence[str], shards: Sequence[Shard], shuffle: tuple[int, int] | None
) -> Generator[Ordered]:
    """Yield each shard with the order of its rows: by track_idx, then permuted by (*shuffle, shard) if it is given."""
    with opener(shards, ["track_idx", *columns]) as groups:
        for shard in shards:
            rows = _take(groups, shard)
            order = np.argsort(rows["track_idx"], kind="stable")
            if shuffle is not None:
                order = order[np.random.default_rng((*shuffle, shard.number)).permutation(len(order))]
            yield rows, order
        if next(groups, None) is not None:
            raise DataCheckError("examples: the files hold more rows than the table counts")


def _ahead(items: Generator[_Item]) -> Generator[_Item]:
    """Let a thread make the next item while the consumer works on one."""
    with closing(items), ThreadPoolExecutor(1) as thread:  # the thread ends first
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _take(groups: Iterator[Rows], shard: Shard) -> Rows:
    parts: list[Rows] = []
    found = 0
    while found < shard.rows:
        part = next(groups, None)
        if part is None:
            raise DataCheckError(f"examples: shard {shard.number} gave {found} rows, the table counts {shard.rows}")
        parts.append(part)
        found += len(part["track_idx"])
    if found != shard.rows:
        raise DataCheckError(f"examples: shard {shard.number} gave {found} rows, the table counts {shard.rows}")
    return _joined(parts)


def _cut(shards: Iterator[Ordered], size: int, rest: bool) -> Generator[Rows]:
    """Yield batches of `size` rows, each a copy: small arrays take memory that was used before, whole shards don't."""
    held: list[Ordered] = []
    missing = size
    for rows, order in shards:
        first = 0
        while len(order) - first >= missing:
            yield _ordered([*held, (rows, order[first : first + missing])])
            first += missing
            held, missing = [], size
        if first < len(order):
            held.append((rows, order[first:]))
            missing -= len(order) - first
    if rest and held:
        yield _ordered(held)


def _ordered(parts: Sequence[Ordered]) -> Rows:
    return _joined([{name: values[order] for name, values in rows.items()} for rows, order in parts])


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
