"""List the best tracks of every user by MLlib: `spark-submit benchmarks/_mllib_topn.py LAKE OUT RANK N`.

The model is fitted by one iteration, as MLlib offers no way to make one of given factors; that time doesn't count.
"""

from __future__ import annotations

import sys
import time

from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession


def main(lake: str, out: str, rank: int, n: int) -> None:
    spark = SparkSession.builder.getOrCreate()
    plays = spark.read.format("delta").load(f"{lake}/interactions")
    als = ALS(rank=rank, maxIter=1, implicitPrefs=True, userCol="user_idx", itemCol="track_idx", ratingCol="play_count")
    model = als.fit(plays)
    begun = time.monotonic()
    model.recommendForAllUsers(n).write.format("delta").mode("overwrite").save(out)
    print(f'{{"whole_s": {time.monotonic() - begun:.2f}}}')


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:5]))
