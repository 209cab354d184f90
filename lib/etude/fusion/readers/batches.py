"""Turn a reader's row groups into batches that depend on (seed, epoch, rank, ranks) only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from etude.errors import DataCheckError
from etude.fusion.shards import Shard, Turn

Rows = dict[str, np.ndarray]
"""Columns of the same number of rows: (rows,) int32, or (rows, n) float32 or int32."""

Opener = Callable[[Sequence[Shard], Sequence[str]], AbstractContextManager[Iterator[Rows]]]
"""Opens shards for reading some columns; yields the rows of one row group after the other, in the shards' order."""


def epoch_batches(opener: Opener, columns: Sequence[str], turn: Turn, seed: int, epoch: int) -> Iterator[Rows]:
    """Yield the batches of one training epoch of one rank: exactly `turn.steps` of `turn.batch_size` rows.

    All of the rank's rows are read and counted, including those that no batch holds.

    Raises:
        DataCheckError: the files don't hold the table's rows.
    """
    given = 0
    for rows in _cut(_whole_shards(opener, columns, turn.shards, (seed, epoch)), turn.batch_size):
        if given < turn.steps:
            given += 1
            yield rows
    if given != turn.steps:
        raise DataCheckError(f"examples: the files gave {given} batches, expected {turn.steps}")


def batches(opener: Opener, columns: Sequence[str], shards: Sequence[Shard], batch_size: int) -> Iterator[Rows]:
    """Yield all rows of some shards once, ordered by shard and track; the last batch may be smaller."""
    if shards:
        yield from _cut(_whole_shards(opener, columns, shards, None), batch_size, rest=True)


def _whole_shards(
    opener: Opener, columns: Sequence[str], shards: Sequence[Shard], shuffle: tuple[int, int] | None
) -> Iterator[Rows]:
    """Yield one dictionary per shard, rows sorted by track_idx, then permuted by (*shuffle, shard) if it is given."""
    with opener(shards, ["track_idx", *columns]) as groups:
        for shard in shards:
            rows = _take(groups, shard)
            order = np.argsort(rows["track_idx"], kind="stable")
            if shuffle is not None:
                order = order[np.random.default_rng((*shuffle, shard.number)).permutation(len(order))]
            yield {name: values[order] for name, values in rows.items()}
        if next(groups, None) is not None:
            raise DataCheckError("examples: the files hold more rows than the table counts")


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
    return parts[0] if len(parts) == 1 else _joined(parts)


def _cut(shards: Iterator[Rows], size: int, rest: bool = False) -> Iterator[Rows]:
    waiting: list[Rows] = []
    held = 0
    for rows in shards:
        waiting.append(rows)
        held += len(rows["track_idx"])
        if held < size:
            continue
        together = _joined(waiting)
        whole = held // size * size
        for start in range(0, whole, size):
            yield {name: values[start : start + size] for name, values in together.items()}
        waiting = [{name: values[whole:] for name, values in together.items()}]
        held -= whole
    if rest and held:
        yield _joined(waiting)


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
