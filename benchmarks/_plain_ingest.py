"""Read a log as a plain script of Spark would: deduplicate, number ids, sum, and write Delta tables.

    spark-submit benchmarks/_plain_ingest.py LOG KIND OUT

The rows must be right: it checks nothing, rejects nothing and can't be run again for a part.
"""

from __future__ import annotations

import sys

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F


def numbered(plays: DataFrame, name: str) -> DataFrame:
    ids = plays.select(f"{name}_id").distinct()
    index = F.row_number().over(Window.orderBy(f"{name}_id")) - 1
    return ids.select(f"{name}_id", index.alias(f"{name}_idx"))


def main(log: str, kind: str, out: str) -> None:
    spark = SparkSession.builder.appName("plain ingest").getOrCreate()
    if kind == "parquet":
        rows = spark.read.parquet(log)
    else:
        rows = spark.read.csv(log, sep="\t", header=True, schema="user_id string, track_id string, played_at timestamp")
    rows.dropDuplicates(["user_id", "track_id", "played_at"]).write.format("delta").mode("overwrite").save(
        f"{out}/plays"
    )
    plays = spark.read.format("delta").load(f"{out}/plays")
    for name in ("user", "track"):
        numbered(plays, name).write.format("delta").mode("overwrite").save(f"{out}/{name}s")
    users, tracks = (spark.read.format("delta").load(f"{out}/{name}s") for name in ("user", "track"))
    summed = (
        plays.join(users, "user_id")
        .join(tracks, "track_id")
        .groupBy("user_idx", "track_idx")
        .agg(
            F.count(F.lit(1)).alias("play_count"),
            F.min("played_at").alias("first_played_at"),
            F.max("played_at").alias("last_played_at"),
        )
    )
    summed.write.format("delta").mode("overwrite").save(f"{out}/interactions")


if __name__ == "__main__":
    main(*sys.argv[1:])
