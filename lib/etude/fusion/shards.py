"""Cut a split into equal shards (one file with one Parquet row group each), and deal them to the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError


@dataclass(frozen=True)
class Shard:
    """Describe one file of examples of one Delta version, and the number of rows that Spark counts in it."""

    number: int
    uri: str
    rows: int


def live_shards(examples: DataFrame, split: str) -> tuple[Shard, ...]:
    """Return the files that hold a split's examples (a frame of one run at one Delta version), by shard number.

    Raises:
        DataCheckError: a shard lies in more than one file.
    """
    files = (
        examples.where(F.col("split") == split)
        .groupBy("shard", F.input_file_name().alias("uri"))
        .agg(F.count("*").alias("rows"))
        .orderBy("shard", "uri")
        .collect()
    )
    shards = tuple(Shard(row["shard"], row["uri"], row["rows"]) for row in files)
    if len({shard.number for shard in shards}) != len(shards):
        raise DataCheckError(f"examples: a shard of split {split} lies in more than one file")
    return shards


def shard_count(rows: int, row_bytes: int, ranks: int, shard_bytes: int) -> int:
    """Return the number of shards for `rows` rows: a multiple of `ranks`, at least 4 per rank if the rows suffice.

    There are more if a shard would exceed `shard_bytes` (a shard must fit one row group), but never more than rows.
    """
    least = max(4 * ranks, -(-rows * row_bytes // shard_bytes))
    wanted = -(-least // ranks) * ranks
    if wanted <= rows:
        return wanted
    return max(rows // ranks * ranks, min(rows, 1))


@dataclass(frozen=True)
class Turn:
    """Describe one rank's share of one epoch: its shards in order, the number of batches and their size in rows."""

    shards: tuple[Shard, ...]
    batch_size: int
    steps: int
    dropped: int
    """Rows of all ranks that no batch holds in this epoch."""


def training_turn(shards: Sequence[Shard], seed: int, epoch: int, rank: int, ranks: int, batch_size: int) -> Turn:
    """Return a rank's share of an epoch: shards permuted by (seed, epoch) and dealt in turn.

    All ranks take the same number of steps. Each computes all shares from the same list, so they agree without
    communication.

    Raises:
        DataCheckError: there are fewer shards than ranks.
    """
    if len(shards) < ranks:
        raise DataCheckError(f"examples: {sum(s.rows for s in shards)} training rows are too few for {ranks} ranks")
    order = np.random.default_rng((seed, epoch)).permutation(len(shards))
    shares = [tuple(shards[place] for place in order[one::ranks]) for one in range(ranks)]
    rows = [sum(shard.rows for shard in share) for share in shares]
    size = min(batch_size, min(rows))
    steps = min(rows) // size
    return Turn(shares[rank], size, steps, sum(rows) - ranks * steps * size)


def share_of(shards: Sequence[Shard], rank: int, ranks: int) -> tuple[Shard, ...]:
    """Return a rank's part of shards that are read once, in order; it may be empty."""
    return tuple(shards[rank::ranks])
