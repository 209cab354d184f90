"""Choose the number of tasks of a stage over files."""

from __future__ import annotations

import math

from pyspark.sql import SparkSession


def task_count(spark: SparkSession, files: int, files_a_task: int) -> int:
    """Return enough tasks to use every slot and to keep each within `files_a_task` files, but at most one per file."""
    slots = spark.sparkContext.defaultParallelism
    return max(1, min(files, max(slots, math.ceil(files / files_a_task))))
