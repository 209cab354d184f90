"""Cut interactions into blocks of rows, once by user and once by track, for the half sweeps of the blocked engine.

The rows of a side are its users (or tracks) that have interactions, numbered by ascending index: an `Axis`. The cut
gives contiguous blocks of about equal cost. It depends on the counts alone, not on the number of tasks or their order.
The tasks that read interactions pack them; one shuffle takes them to the block's partition. There they are sorted into
compressed rows and cached (spilled to disk if necessary). Spark recomputes a lost executor's blocks from their lineage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import RDD, Broadcast, StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.vectors import Factors
from etude.worker import lean_worker

_BLOCK_COST = 250_000  # interactions, or rows of the same cost: a few MB, a few ms of kernel
_FLUSH_ROWS = 2_000_000  # interactions that a reading task collects before it packs them

_PACKED = np.dtype([("row", "<i4"), ("column", "<i4"), ("weight", "<f4")])


@dataclass(frozen=True)
class Axis:
    """Hold the rows of one side: `idx` (n,) int32 ascending, and their numbers of interactions `counts` (n,) int64."""

    idx: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, interactions: DataFrame, column: str) -> Axis:
        """Count the interactions of each user (column user_idx) or track (track_idx) that has any."""
        found = interactions.groupBy(F.col(column).alias("idx")).count().toArrow()
        idx = found["idx"].to_numpy()
        order = np.argsort(idx)
        return cls(idx[order].astype(np.int32), found["count"].to_numpy()[order])

    def __len__(self) -> int:
        return len(self.idx)

    def rows_of(self, factors: Factors) -> np.ndarray:
        """Return the factors of the rows, zeros for rows without factors: (n, rank) float32."""
        values = np.zeros((len(self), factors.rank), dtype=np.float32)
        _, at_axis, at_factors = np.intersect1d(self.idx, factors.idx, assume_unique=True, return_indices=True)
        values[at_axis] = factors.values[at_factors]
        return values

    def positions(self) -> np.ndarray:
        """Return the row number of each index, -1 for an index without interactions: (largest index + 1,) int32."""
        places = np.full(int(self.idx[-1]) + 1 if len(self) else 0, -1, dtype=np.int32)
        places[self.idx] = np.arange(len(self), dtype=np.int32)
        return places


@dataclass(frozen=True)
class Block:
    """Hold contiguous rows of one side in compressed form.

    Attributes:
        number: number of the block, from 0.
        start: row number (on its axis) of its first row.
        indptr: (rows + 1,) int64: start of each row in `columns`, and the end.
        columns: row numbers on the other axis, ascending within each row: int32.
        weights: extra confidence c - 1 of each interaction: float32.
    """

    number: int
    start: int
    indptr: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def rows(self) -> slice:
        """Return the range of its rows on its axis."""
        return slice(self.start, self.start + len(self))


def cut(counts: np.ndarray, rank: int, block_cost: int = _BLOCK_COST) -> np.ndarray:
    """Return the first rows of the blocks, and the end: (blocks + 1,) int64.

    A row costs its interactions plus rank / 2 for the Gram matrix (2 rank^2 operations per step, against 4 rank per
    interaction). A row that costs more than a block is a block of its own.
    """
    ends = np.cumsum(counts + rank // 2 + 1)
    first_of_block = np.flatnonzero(np.diff(ends // block_cost, prepend=-1) > 0)
    heavy = np.flatnonzero(counts > block_cost)
    return np.unique(np.concatenate([[0], first_of_block, heavy, heavy + 1, [len(counts)]])).astype(np.int64)


def build_blocks(
    interactions: DataFrame,
    row_column: str,
    rows: Axis,
    columns: Axis,
    weigh: Callable[[np.ndarray], np.ndarray],
    rank: int,
    partitions: int | None,
) -> RDD[Block]:
    """Build the blocks of one side; they are cached when first used.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        row_column: user_idx or track_idx, the side to cut.
        rows: axis of that side; interactions of indices outside the axes are dropped.
        columns: axis of the other side.
        weigh: play counts (n,) int64 -> extra confidence (n,) float32.
        rank: factors per row, for the cost of a row.
        partitions: largest number of tasks of a sweep over the blocks; None for `_tasks`.
    """
    context = interactions.sparkSession.sparkContext
    starts = cut(rows.counts, rank)
    tasks = partitions or _tasks(len(starts) - 1, context.defaultParallelism)
    packer = _Packer(context.broadcast(rows.positions()), context.broadcast(columns.positions()), starts, weigh)
    other = "track_idx" if row_column == "user_idx" else "user_idx"
    packed = interactions.select(row_column, other, "play_count").mapInArrow(packer, "block int, data binary")
    return (
        packed.rdd.map(lambda row: (row["block"], row["data"]))
        .partitionBy(tasks, lambda block: block % tasks)
        .mapPartitions(lambda chunks: _assemble(chunks, starts), preservesPartitioning=True)
        .persist(StorageLevel.MEMORY_AND_DISK)
    )


def _tasks(blocks: int, slots: int) -> int:
    """Return one task per slot, or three if tasks are long enough: they balance slots of unequal speed."""
    wanted = slots if blocks < 32 * slots else 3 * slots
    return max(1, min(blocks, wanted))


@dataclass(frozen=True)
class _Packer:
    """Turn batches of interactions into packed rows, one chunk per block."""

    row_positions: Broadcast[np.ndarray]
    column_positions: Broadcast[np.ndarray]
    starts: np.ndarray
    weigh: Callable[[np.ndarray], np.ndarray]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        lean_worker()
        held: list[np.ndarray] = []
        for batch in batches:
            held.append(self._pack(batch))
            if sum(map(len, held)) >= _FLUSH_ROWS:
                yield self._by_block(np.concatenate(held))
                held = []
        if held:
            yield self._by_block(np.concatenate(held))

    def _pack(self, batch: pa.RecordBatch) -> np.ndarray:
        packed = np.empty(batch.num_rows, dtype=_PACKED)
        packed["row"] = _look_up(self.row_positions.value, batch.column(0).to_numpy())
        packed["column"] = _look_up(self.column_positions.value, batch.column(1).to_numpy())
        packed["weight"] = self.weigh(batch.column(2).to_numpy())
        return packed[(packed["row"] >= 0) & (packed["column"] >= 0)]

    def _by_block(self, packed: np.ndarray) -> pa.RecordBatch:
        block = np.searchsorted(self.starts, packed["row"], side="right") - 1
        order = np.argsort(block, kind="stable")
        numbers, first = np.unique(block[order], return_index=True)
        data = [chunk.tobytes() for chunk in np.split(packed[order], first[1:])] if len(numbers) else []
        return pa.record_batch([pa.array(numbers, pa.int32()), pa.array(data, pa.binary())], names=["block", "data"])


def _look_up(positions: np.ndarray, idx: np.ndarray) -> np.ndarray:
    inside = idx < len(positions)
    return np.where(inside, positions[np.where(inside, idx, 0)], -1)


def _assemble(chunks: Iterable[tuple[int, bytes]], starts: np.ndarray) -> Iterator[Block]:
    """Assemble the blocks of one partition from their chunks; the order of the chunks has no effect."""
    by_block: dict[int, list[bytes]] = defaultdict(list)
    for number, data in chunks:
        by_block[number].append(data)
    for number in sorted(by_block):
        packed = np.concatenate([np.frombuffer(data, _PACKED) for data in by_block.pop(number)])
        packed = packed[np.lexsort((packed["column"], packed["row"]))]
        start, end = starts[number], starts[number + 1]
        indptr = np.searchsorted(packed["row"], np.arange(start, end + 1)).astype(np.int64)
        yield Block(number, int(start), indptr, packed["column"].copy(), packed["weight"].copy())
