"""How many tasks a stage over files is cut into."""

from __future__ import annotations

import math

from pyspark.sql import SparkSession


def task_count(spark: SparkSession, files: int, files_a_task: int) -> int:
    """So many that every slot has work and no task has more than `files_a_task` files, but never more than files."""
    slots = spark.sparkContext.defaultParallelism
    return max(1, min(files, max(slots, math.ceil(files / files_a_task))))
