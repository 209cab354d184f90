"""Cut interactions into blocks of rows, once by user and once by track, for the half sweeps of our engines.

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

from etude.config.wmf import WmfSettings
from etude.vectors import Factors
from etude.worker import lean_worker

OTHER = {"user": "track", "track": "user"}
"""Side -> the other side."""

BLOCK_COST = 250_000  # interactions, or rows of the same cost: a few MB, a few ms of kernel
_CG_ROW = 2
_FLUSH_ROWS = 2_000_000  # interactions that a reading task collects before it packs them

_PACKED_BYTES = 12  # of an interaction: row and column int32, weight float32

Packed = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows and columns (n,) int32 of interactions, by their places on the axes, and extra confidences (n,) float32."""


@dataclass(frozen=True)
class Axis:
    """Hold the rows of one side: `idx` (n,) int32 ascending, and their numbers of interactions `counts` (n,) int64."""

    idx: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, interactions: DataFrame, column: str) -> Axis:
        """Count the interactions of each user (column user_idx) or track (track_idx) that has any."""
        return cls._of(interactions.groupBy(F.col(column).alias("idx")).count().toArrow())

    @classmethod
    def with_hash(cls, interactions: DataFrame, column: str) -> tuple[Axis, int]:
        """Return the same, and a hash of all interactions (user, track and plays), in one pass."""
        cell = F.xxhash64("user_idx", "track_idx", "play_count")
        rows = interactions.groupBy(F.col(column).alias("idx"))
        found = rows.agg(F.count(F.lit(1)).alias("count"), F.bit_xor(cell).alias("hash")).toArrow()
        return cls._of(found), int(np.bitwise_xor.reduce(found["hash"].to_numpy(), initial=0))

    @classmethod
    def _of(cls, found: pa.Table) -> Axis:
        idx = found["idx"].to_numpy()
        order = np.argsort(idx)
        return cls(idx[order].astype(np.int32), found["count"].to_numpy()[order])

    def __len__(self) -> int:
        return len(self.idx)

    def rows_of(self, factors: Factors) -> np.ndarray:
        """Return the factors of the rows, zeros for rows without factors: (n, rank) float32."""
        values = np.zeros((len(self), factors.rank), dtype=np.float32)
        self.put(factors, values)
        return values

    def put(self, factors: Factors, values: np.ndarray) -> None:
        """Put factors into the rows (n, rank) of their indices; indices that are not on the axis are ignored."""
        _, at_axis, at_factors = np.intersect1d(self.idx, factors.idx, assume_unique=True, return_indices=True)
        values[at_axis] = factors.values[at_factors]

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


def row_cost(settings: WmfSettings) -> int:
    """Return what a row costs beside its interactions, in interactions; at rank 100: 2 with cg, about 40 exactly."""
    return _CG_ROW if settings.solver == "cg" else exact_row_cost(settings.rank)


def exact_row_cost(rank: int) -> int:
    """Return the same for a row that is solved exactly."""
    return rank // 2 + 1


def cut(counts: np.ndarray, of_row: int, block_cost: int = BLOCK_COST) -> np.ndarray:
    """Return the first rows of the blocks, and the end: (blocks + 1,) int64.

    A row costs its interactions and `of_row`. A row that costs more than a block is a block of its own.
    """
    ends = np.cumsum(counts + of_row)
    first_of_block = np.flatnonzero(np.diff(ends // block_cost, prepend=-1) > 0)
    heavy = np.flatnonzero(counts > block_cost)
    return np.unique(np.concatenate([[0], first_of_block, heavy, heavy + 1, [len(counts)]])).astype(np.int64)


def build_blocks(
    interactions: DataFrame,
    row_column: str,
    rows: Axis,
    columns: Axis,
    weigh: Callable[[np.ndarray], np.ndarray],
    of_row: int,
    partitions: int | None,
) -> RDD[Block]:
    """Build the blocks of one side; they are cached when first used.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        row_column: user_idx or track_idx, the side to cut.
        rows: axis of that side; interactions of indices outside the axes are dropped.
        columns: axis of the other side.
        weigh: play counts (n,) int64 -> extra confidence (n,) float32.
        of_row: what a row costs beside its interactions (`row_cost`).
        partitions: largest number of tasks of a sweep over the blocks; None for `_tasks`.
    """
    context = interactions.sparkSession.sparkContext
    starts = cut(rows.counts, of_row)
    tasks = partitions or _tasks(len(starts) - 1, context.defaultParallelism)
    packer = Packer(context.broadcast(rows.positions()), context.broadcast(columns.positions()), starts)
    other = "track_idx" if row_column == "user_idx" else "user_idx"
    packed = interactions.select(row_column, other, "play_count").mapInArrow(
        _Chunks(packer, weigh), "block long, data binary"
    )
    return (
        packed.rdd.map(lambda row: (row["block"], row["data"]))
        .partitionBy(tasks, lambda block: block % tasks)
        .mapPartitions(lambda chunks: assemble(chunks, starts), preservesPartitioning=True)
        .persist(StorageLevel.MEMORY_AND_DISK)
    )


def _tasks(blocks: int, slots: int) -> int:
    """Return one task per slot, or three if tasks are long enough: they balance slots of unequal speed."""
    wanted = slots if blocks < 32 * slots else 3 * slots
    return max(1, min(blocks, wanted))


@dataclass(frozen=True)
class Packer:
    """Turn interactions into packed rows of one side, in chunks of a block each."""

    row_positions: Broadcast[np.ndarray]
    column_positions: Broadcast[np.ndarray]
    starts: np.ndarray

    def pack(self, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> Packed:
        """Return the interactions (n,) whose indices are on both axes."""
        row, column = (
            look_up(positions.value, idx)
            for positions, idx in ((self.row_positions, rows), (self.column_positions, columns))
        )
        known = (row >= 0) & (column >= 0)
        return (row, column, weights) if known.all() else (row[known], column[known], weights[known])

    def by_block(self, packed: Packed) -> tuple[np.ndarray, list[bytes]]:
        """Return the numbers of the blocks of packed interactions, ascending, and a chunk of bytes of each."""
        blocks = len(self.starts) - 1
        # 16-bit numbers are sorted by radix, ten times as fast.
        kind = np.uint16 if blocks < 2**16 else np.int64
        block = np.repeat(np.arange(blocks, dtype=kind), np.diff(self.starts))[packed[0]]
        order = np.argsort(block, kind="stable")
        sizes = np.bincount(block, minlength=blocks)
        numbers = np.flatnonzero(sizes)
        ends = np.cumsum(sizes)[numbers]
        sorted_columns = [each[order] for each in packed]
        chunks = [
            b"".join(each[end - size : end].tobytes() for each in sorted_columns)
            for size, end in zip(sizes[numbers], ends, strict=True)
        ]
        return numbers, chunks


@dataclass(frozen=True)
class _Chunks:
    """Turn batches of interactions (row, column, play_count) into packed rows, one chunk per block."""

    packer: Packer
    weigh: Callable[[np.ndarray], np.ndarray]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        lean_worker()
        for rows, columns, plays in in_pieces(batches):
            packed = self.packer.pack(rows, columns, self.weigh(plays))
            numbers, data = self.packer.by_block(packed)
            yield pa.record_batch([pa.array(numbers, pa.int64()), pa.array(data, pa.binary())], ["block", "data"])


def in_pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[list[np.ndarray]]:
    """Join batches into pieces of some million rows; yield the columns of each piece."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= _FLUSH_ROWS:
            yield _columns(held)
            held = []
    if held:
        yield _columns(held)


def _columns(batches: list[pa.RecordBatch]) -> list[np.ndarray]:
    return [column.to_numpy() for column in pa.Table.from_batches(batches).columns]


def look_up(positions: np.ndarray, idx: np.ndarray) -> np.ndarray:
    """Return the row numbers of indices by `Axis.positions`; -1 for an index without a row."""
    inside = idx < len(positions)
    return np.where(inside, positions[np.where(inside, idx, 0)], -1)


def assemble(chunks: Iterable[tuple[int, bytes]], starts: np.ndarray) -> Iterator[Block]:
    """Assemble blocks from their chunks (number, packed rows), whose order has no effect; ascending by number."""
    by_block: dict[int, list[bytes]] = defaultdict(list)
    for number, data in chunks:
        by_block[number].append(data)
    for number in sorted(by_block):
        pieces = [_unpacked(data) for data in by_block.pop(number)]
        row, column, weight = (np.concatenate(each) for each in zip(*pieces, strict=True))
        order = np.argsort(row.astype(np.int64) << 32 | column)  # no pair occurs twice
        start, end = starts[number], starts[number + 1]
        indptr = np.searchsorted(row[order], np.arange(start, end + 1)).astype(np.int64)
        yield Block(number, int(start), indptr, column[order], weight[order])


def _unpacked(data: bytes) -> Packed:
    n = len(data) // _PACKED_BYTES
    return (
        np.frombuffer(data, np.int32, n),
        np.frombuffer(data, np.int32, n, 4 * n),
        np.frombuffer(data, np.float32, n, 8 * n),
    )
