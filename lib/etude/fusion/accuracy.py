"""Measure the errors of predicted factors on the original factor scale: MSE, RMSE, MAE, MSLE."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def factor_errors(predicted: DataFrame, targets: DataFrame) -> DataFrame:
    r"""Compute the paper's errors over all cells (tracks x rank) of each split.

    MSE = mean (y - y')^2, RMSE is its root, MAE = mean |y - y'|. MSLE = mean (log(y' + 1) - log(y + 1))^2 is undefined
    if y <= -1 or y' <= -1. It is the mean over the other cells; `msle_left_out` is the share of the cells left out.

    Args:
        predicted: track_idx, factors.
        targets: track_idx, split, target.

    Returns:
        split, metric, value.
    """
    pairs = targets.join(predicted, on="track_idx").select(
        "split",
        F.explode(F.arrays_zip(F.col("target").alias("y"), F.col("factors").alias("p"))).alias("cell"),
    )
    y, p = F.col("cell.y").cast("double"), F.col("cell.p").cast("double")
    logs = F.when((y > -1) & (p > -1), F.log1p(p) - F.log1p(y))
    errors = pairs.groupBy("split").agg(
        F.avg((y - p) * (y - p)).alias("mse"),
        F.sqrt(F.avg((y - p) * (y - p))).alias("rmse"),
        F.avg(F.abs(y - p)).alias("mae"),
        F.avg(logs * logs).alias("msle"),
        (1 - F.count(logs) / F.count("*")).alias("msle_left_out"),
    )
    metrics = ("mse", "rmse", "mae", "msle", "msle_left_out")
    return errors.unpivot(["split"], list(metrics), "metric", "value").where(F.col("value").isNotNull())
