"""Shards: the equal parts of a split, one file and one Parquet row group each, and who reads which in what order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError


@dataclass(frozen=True)
class Shard:
    """One file of examples of one Delta version, and how many rows Spark counts in it."""

    number: int
    uri: str
    rows: int


def live_shards(examples: DataFrame, split: str) -> tuple[Shard, ...]:
    """The files that hold a split's examples (a frame of one run at one Delta version), by shard number.

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
    """How many shards `rows` rows make: a multiple of `ranks`, at least 4 a rank where there are rows enough.

    More where a shard would be larger than `shard_bytes` (every shard is to be one row group), never more than rows.
    """
    least = max(4 * ranks, -(-rows * row_bytes // shard_bytes))
    wanted = -(-least // ranks) * ranks
    if wanted <= rows:
        return wanted
    return max(rows // ranks * ranks, min(rows, 1))


@dataclass(frozen=True)
class Turn:
    """What one rank reads in one epoch: its shards in order, and how many batches of how many rows it makes of them."""

    shards: tuple[Shard, ...]
    batch_size: int
    steps: int
    dropped: int
    """Rows of all ranks together that no batch holds this epoch."""


def training_turn(shards: Sequence[Shard], seed: int, epoch: int, rank: int, ranks: int, batch_size: int) -> Turn:
    """A rank's share of an epoch: shards permuted by (seed, epoch) and dealt in turn, the same steps for all ranks.

    Every rank computes all ranks' shares from the same list, so that they agree without asking one another.

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
    """A rank's part of shards that are read once, in order; may be empty."""
    return tuple(shards[rank::ranks])
