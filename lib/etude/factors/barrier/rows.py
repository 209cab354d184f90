"""Deal blocks of rows of both sides to the ranks: packed by Spark tasks, one shuffle, assembled by the rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pyspark import RDD, Broadcast, Row
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.errors import EtudeError
from etude.factors.blocks import BLOCK_COST, OTHER, Axis, Block, Packer, assemble, cut, in_pieces, look_up, row_cost
from etude.factors.fit import Earlier
from etude.factors.objective import extra_confidence
from etude.vectors import Factors
from etude.worker import lean_worker

_BLOCKS_PER_RANK = 16  # at least, so that ranks get equal shares
_LEAST_COST = 1_000  # interactions in a block: a rank with less would wait more than work

_CHUNK = "key int, side int, block long, data binary"
_EARLIER = -1
"""Block of a chunk of earlier factors."""

SIDES = tuple(OTHER)


@dataclass(frozen=True)
class Deal:
    """Hold which rank solves which rows of a side.

    Attributes:
        starts: first rows of the blocks, and the end: (blocks + 1,) int64.
        first: first block of each rank, and the end: (ranks + 1,) int64.
    """

    starts: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, ranks: int, settings: WmfSettings) -> Deal:
        """Deal contiguous blocks of about equal cost in all to each rank, from the rows' numbers of interactions."""
        of_row = row_cost(settings)
        total = int(counts.sum()) + of_row * len(counts)
        starts = cut(counts, of_row, min(BLOCK_COST, max(_LEAST_COST, total // (_BLOCKS_PER_RANK * ranks))))
        ends = np.cumsum(counts + of_row)[starts[1:] - 1]
        shares = ends[-1] * np.arange(1, ranks) / ranks
        inner = np.searchsorted(ends, shares) + 1
        return cls(starts, np.concatenate([[0], np.minimum(inner, len(ends)), [len(ends)]]).astype(np.int64))

    @property
    def size(self) -> int:
        """Return the number of rows of the side."""
        return int(self.starts[-1])

    def rows(self, rank: int) -> slice:
        """Return the rows that a rank solves."""
        return slice(int(self.starts[self.first[rank]]), int(self.starts[self.first[rank + 1]]))


def dealt(
    interactions: DataFrame,
    axes: dict[str, Axis],
    deals: dict[str, Deal],
    ranks: int,
    settings: WmfSettings,
    earlier: Earlier | None = None,
) -> RDD[Row]:
    """Return one partition per rank, in their order, with what it needs: side (0 or 1), block, data.

    A chunk of earlier factors has the block _EARLIER.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        axes: rows of both sides.
        deals: which rank solves which of them.
        ranks: their number.
        settings: the law of confidence.
        earlier: factors to start from.
    """
    spark = interactions.sparkSession
    positions = {side: spark.sparkContext.broadcast(axis.positions()) for side, axis in axes.items()}
    packers = {side: Packer(positions[side], positions[OTHER[side]], deals[side].starts) for side in SIDES}
    keys = _keys(interactions, ranks)
    chunks = _Chunks(packers, deals, keys, settings)
    packed = interactions.select("user_idx", "track_idx", "play_count").mapInArrow(chunks, _CHUNK)
    if earlier is not None:
        for number, side in enumerate(SIDES):
            known = _Known(number, settings.rank, positions[side], deals[side], keys)
            factors = earlier.of(side).select(F.col(f"{side}_idx").alias("idx"), "factors")
            packed = packed.unionByName(factors.mapInArrow(known, _CHUNK))
    return packed.repartition(ranks, "key").drop("key").rdd


@dataclass(frozen=True)
class Received:
    """Hold what a rank needs: its blocks of both sides, and packed earlier factors of some of its rows."""

    blocks: dict[str, list[Block]]
    earlier: dict[str, list[bytes]]

    def put_earlier(self, side: str, values: np.ndarray, first: int) -> None:
        """Put the earlier factors of a side into this rank's rows, (n, rank) float32 from row `first`; forget them."""
        rank = values.shape[1]
        for data in self.earlier.pop(side):
            n = len(data) // (4 + 4 * rank)
            rows = np.frombuffer(data, np.int32, n) - first
            values[rows] = np.frombuffer(data, np.float32, offset=4 * n).reshape(n, rank)


def received(chunks: Iterable[Row], deals: dict[str, Deal], rank: int) -> Received:
    """Assemble the blocks of a rank from its chunks.

    Raises:
        EtudeError: a block is missing, or is another rank's.
    """
    by_side: dict[str, list[tuple[int, bytes]]] = {side: [] for side in SIDES}
    earlier: dict[str, list[bytes]] = {side: [] for side in SIDES}
    for chunk in chunks:
        side, data = SIDES[chunk["side"]], bytes(chunk["data"])
        if chunk["block"] == _EARLIER:
            earlier[side].append(data)
        else:
            by_side[side].append((chunk["block"], data))
    blocks = {side: list(assemble(by_side.pop(side), deals[side].starts)) for side in SIDES}
    for side, deal in deals.items():
        found, expected = [block.number for block in blocks[side]], range(deal.first[rank], deal.first[rank + 1])
        if found != list(expected):
            raise EtudeError(
                f"rank {rank} received {len(found):,} blocks of {side}s, expected {len(expected):,} others: "
                "did the input change? run again"
            )
    return Received(blocks, earlier)


@dataclass(frozen=True)
class _Chunks:
    """Turn batches of interactions into packed rows of both sides, one chunk per block."""

    packers: dict[str, Packer]
    deals: dict[str, Deal]
    keys: np.ndarray
    settings: WmfSettings

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        lean_worker()
        for users, tracks, plays in in_pieces(batches):
            weights = extra_confidence(plays, self.settings)
            for number, (side, cells) in enumerate({"user": (users, tracks), "track": (tracks, users)}.items()):
                packer = self.packers[side]
                blocks, data = packer.by_block(packer.pack(*cells, weights))
                ranks = np.searchsorted(self.deals[side].first, blocks, side="right") - 1
                yield _batch(self.keys[ranks], number, blocks, data)


@dataclass(frozen=True)
class _Known:
    """Turn batches of earlier factors (idx, factors) into packed rows, a chunk per rank: row numbers, factors."""

    side: int
    rank: int
    positions: Broadcast[np.ndarray]
    deal: Deal
    keys: np.ndarray

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        lean_worker()
        firsts = self.deal.starts[self.deal.first]
        for batch in batches:
            found = Factors.from_table(pa.Table.from_batches([batch]), "idx", self.rank)
            row = look_up(self.positions.value, found.idx)
            row, values = row[row >= 0], found.values[row >= 0]
            # Indices ascend, and so do rows and their ranks.
            ends = np.searchsorted(row, firsts)
            of_ranks = [slice(first, end) for first, end in pairwise(ends)]
            data = [row[mine].tobytes() + values[mine].tobytes() for mine in of_ranks]
            yield _batch(self.keys, self.side, np.full(len(data), _EARLIER), data)


def _batch(keys: np.ndarray, side: int, blocks: np.ndarray, data: list[bytes]) -> pa.RecordBatch:
    """Return chunks as rows of _CHUNK."""
    columns = [
        pa.array(keys, pa.int32()),
        pa.array(np.full(len(keys), side), pa.int32()),
        pa.array(blocks, pa.int64()),
        pa.array(data, pa.binary()),
    ]
    return pa.record_batch(columns, ["key", "side", "block", "data"])


def _keys(frame: DataFrame, ranks: int) -> np.ndarray:
    """Return a key of each rank that Spark's hash partitioning puts into the partition of the rank's number."""
    tried = frame.sparkSession.range(32 * ranks).select(F.col("id").cast("int").alias("key"))
    hashed = tried.select("key", F.pmod(F.hash("key"), F.lit(ranks)).alias("partition"))
    found = {row["partition"]: row["key"] for row in hashed.collect()}
    return np.array([found[rank] for rank in range(ranks)], np.int32)
