"""Predict factors of every track with features on Spark: the models are broadcast, tracks come in Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.fusion.regression import Regressions, fold_of, stacked, with_sound
from etude.fusion.ridge import inputs_of
from etude.fusion.shape import ExampleShape

if TYPE_CHECKING:
    import torch

# Spark limits Arrow batches by rows, not bytes; partitions of at most this size keep batches small.
_PARTITION_BYTES = 32 * 2**20
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Predictor:
    """Hold what predicts: a network and a regression, of which the network has a share.

    Attributes:
        ridge: the regressions.
        network: a checkpoint's bytes; None without a network.
        share: s of factors = s x network + (1 - s) x ridge.
    """

    ridge: Regressions
    network: bytes | None
    share: float


def predict(features: DataFrame, tracks: int, predictor: Predictor, shape: ExampleShape, seed: int) -> DataFrame:
    """Predict the factors of each row of `features`.

    Args:
        features: rows as `etude.fusion.features.features` makes them, with `split`, null for a track without one.
        tracks: upper limit of the number of rows.
        predictor: what predicts.
        shape: size of a row's arrays.
        seed: `train.seed`, from which the folds of the training tracks follow.

    Returns:
        track_idx, factors, network (null without a network), ridge: array<float> on the scale of the targets.
    """
    spark = features.sparkSession
    shared = spark.sparkContext.broadcast(predictor)

    def factors(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return _predict_batches(batches, shared.value, shape)

    parts = max(spark.sparkContext.defaultParallelism, -(-tracks * shape.row_bytes // _PARTITION_BYTES))
    arrays = ", ".join(f"{name} array<float>" for name in ("factors", "network", "ridge"))
    with_folds = features.withColumn("fold", fold_of(seed)).drop("split")
    return with_folds.repartition(parts).mapInPandas(factors, f"track_idx int, {arrays}")


def best_share(predicted: DataFrame, targets: DataFrame) -> float | None:
    """Return the network's share that gives the least squared error; None without tracks.

    With target t, network n and regression r of a track, that is sum (t - r)(n - r) / sum (n - r)^2, within 0 and 1.

    Args:
        predicted: track_idx, network, ridge.
        targets: track_idx, target.
    """
    zipped = F.explode(F.arrays_zip("target", "network", "ridge")).alias("cell")
    t, n, r = (F.col(f"cell.{name}").cast("double") for name in ("target", "network", "ridge"))
    sums = predicted.join(targets, on="track_idx").select(zipped).agg(F.sum((t - r) * (n - r)), F.sum((n - r) ** 2))
    along, square = sums.collect()[0]
    return min(max(along / square, 0.0), 1.0) if square else None


def _predict_batches(
    batches: Iterable[pd.DataFrame], predictor: Predictor, shape: ExampleShape
) -> Iterator[pd.DataFrame]:
    network = None
    if predictor.network is not None:
        import torch

        from etude.fusion import device

        # A task occupies one slot and therefore uses one thread.
        torch.set_num_threads(1)
        network = TrainedNetwork(predictor.network, device.of_task(device.assigned_gpus(TaskContext.get())))
    for batch in batches:
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            piece = batch.iloc[start : start + _ROWS_AT_ONCE]
            inputs = inputs_of(with_sound(piece, shape), shape)
            ridge = factors = predictor.ridge.predict(inputs, piece["fold"].to_numpy())
            columns: dict[str, Any] = {"network": None, "ridge": list(ridge)}
            if network is not None:
                found = network.predict(piece)
                columns["network"] = list(found)
                factors = predictor.share * found + (1 - predictor.share) * ridge
            yield pd.DataFrame({"track_idx": piece["track_idx"].to_numpy(), "factors": list(factors), **columns})


class TrainedNetwork:
    """Hold the network of a checkpoint's bytes, on a device."""

    def __init__(self, checkpoint: bytes, device: torch.device):
        from etude.fusion.checkpoint import from_bytes

        loaded = from_bytes(checkpoint)
        self.network, self.shape, self.device = loaded.network().to(device), loaded.shape, device

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the factors of rows of features: (rows, rank) float32."""
        import torch

        from etude.fusion.device import moved
        from etude.fusion.networks.inputs import all_crops, to_tensors

        read = {name: stacked(rows[name]) for name in self.network.inputs}
        batch = moved(to_tensors(read, self.shape), self.device)
        with torch.no_grad():
            return self.network.factors(all_crops(self.network, batch)).cpu().numpy()
