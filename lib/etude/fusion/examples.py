"""Make the examples that the batch readers read: a row per track that has a target, cut into equal shards."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from etude.causes import NOTHING_TO_LEARN
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, InputMissingError
from etude.frames import small_frame
from etude.fusion.features import FEATURE_COLUMNS, features
from etude.fusion.shape import ExampleShape
from etude.fusion.shards import shard_count
from etude.fusion.vocabulary import Vocabulary

# Rows are numbered within this many buckets per split, so that no window needs a whole split in one partition.
_BUCKETS = 256


@dataclass(frozen=True)
class Deal:
    """Assign each example to a shard."""

    rows: DataFrame
    """The rows dealt, with the column `shard`."""
    sizes: dict[str, int]
    """Rows per split."""


def targets(track_factors: DataFrame, splits: DataFrame, protocol: str) -> tuple[DataFrame, int]:
    """Return the target factors of every track whose split and factors are known, and their rank.

    The targets of training tracks are their fitted factors, or those that a later run folded in. With protocol
    `strict`, the factors of the other tracks were solved from their withheld plays. With `none` and `paper`, they were
    fitted with the rest.

    Returns:
        track_idx, split, target (kept in Spark's cache); the length of the factors.

    Raises:
        InputMissingError: no training track has factors.
        DataCheckError: a track has factors that its split doesn't allow, such as a fitted held-out track; or factors
            differ in length.
    """
    withheld = F.col("origin") == "held_out"
    tracks = splits.where(F.col("kind") == "track").select("track_idx", "split")
    joined = track_factors.join(tracks, on="track_idx")
    rows = joined.select("track_idx", "split", F.col("factors").alias("target"), "origin").persist()
    expected = F.lit(False) if protocol != "strict" else F.col("split") != "train"
    found = rows.agg(
        F.count_if(F.col("split") == "train").alias("train"),
        F.count_if(withheld != expected).alias("wrong"),
        F.min(F.size("target")).alias("shortest"),
        F.max(F.size("target")).alias("longest"),
    ).first()
    if found is None or found["train"] == 0:
        raise InputMissingError("track_factors: no training track has factors of this wmf run")
    if found["wrong"]:
        raise DataCheckError(f"track_factors: {found['wrong']} tracks have factors that protocol {protocol} withholds")
    if found["shortest"] != found["longest"]:
        raise DataCheckError(f"track_factors: lengths from {found['shortest']} to {found['longest']} in one run")
    return rows.drop("origin"), int(found["longest"])


def deal(tracks: DataFrame, settings: TrainSettings, shape: ExampleShape, ranks: int) -> Deal:
    """Cut each split of `tracks` (track_idx, split, ...) into shards of equal size (they differ by one row at most).

    A hash of (`train.seed`, track_idx) orders the tracks: the same tracks give the same shards on any cluster.

    Raises:
        InputMissingError: there are no training tracks.
    """
    hashed = tracks.withColumn("hash", F.xxhash64(F.lit(settings.seed), "track_idx"))
    numbered = hashed.withColumn("bucket", F.pmod("hash", F.lit(_BUCKETS)))
    counts = numbered.groupBy("split", "bucket").agg(F.count("*")).orderBy("split", "bucket").collect()
    sizes: dict[str, int] = {}
    starts = []
    for split, bucket, n in counts:
        starts.append((split, bucket, sizes.get(split, 0)))
        sizes[split] = sizes.get(split, 0) + n
    if not sizes.get("train"):
        raise InputMissingError(f"{NOTHING_TO_LEARN} that train.model={settings.model} reads")
    limit = settings.shard_mb * 2**20
    shards = {split: shard_count(rows, shape.row_bytes, ranks, limit) for split, rows in sizes.items()}
    rows = numbered.join(
        F.broadcast(small_frame(tracks.sparkSession, starts, "split string, bucket long, start long")),
        on=["split", "bucket"],
    )
    within = Window.partitionBy("split", "bucket").orderBy("hash", "track_idx")
    place = F.col("start") + F.row_number().over(within) - 1
    shard = F.coalesce(*(F.when(F.col("split") == split, place * n / sizes[split]) for split, n in shards.items()))
    return Deal(rows.select(*tracks.columns, F.floor(shard).cast("int").alias("shard")), sizes)


def build_examples(dealt: Deal, mel: DataFrame, vocabulary: Vocabulary, shape: ExampleShape) -> DataFrame:
    """Return rows of the table `examples` without run_id, partitioned so that one task writes each shard as one file.

    `dealt` has rows of `tracks` with split and target. Mel rows, by far the largest, are shuffled twice: to their
    track, and to their shard.
    """
    rows = features(dealt.rows, mel, vocabulary, shape, keep=("split", "shard", "target"))
    columns = ("split", "shard", "track_idx", *FEATURE_COLUMNS, "target")
    return rows.select(*columns).repartition("split", "shard")
