"""Factors for every track with features, by Spark: the network is broadcast, the tracks come in Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from etude.fusion.shape import ExampleShape

# What one Arrow batch may take; Spark cuts batches by rows alone, so partitions are made small enough.
_PARTITION_BYTES = 32 * 2**20
_ROWS_AT_ONCE = 256


def predict(features: DataFrame, tracks: int, network: bytes, shape: ExampleShape) -> DataFrame:
    """track_idx, factors (array<float>, original scale) for each row of `features`.

    Args:
        features: rows as `etude.fusion.features.features` makes them.
        tracks: at most so many rows.
        network: a checkpoint's bytes.
        shape: size of a row's arrays.
    """
    spark = features.sparkSession
    shared = spark.sparkContext.broadcast(network)

    def factors(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return _predict_batches(batches, shared.value)

    parts = max(spark.sparkContext.defaultParallelism, -(-tracks * shape.row_bytes // _PARTITION_BYTES))
    return features.repartition(parts).mapInPandas(factors, "track_idx int, factors array<float>")


def _predict_batches(batches: Iterable[pd.DataFrame], checkpoint: bytes) -> Iterator[pd.DataFrame]:
    import torch

    from etude.fusion.checkpoint import from_bytes
    from etude.fusion.networks.inputs import all_crops, to_tensors

    # A task has one slot, so one thread.
    torch.set_num_threads(1)
    loaded = from_bytes(checkpoint)
    network = loaded.network()
    for batch in batches:
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            piece = batch.iloc[start : start + _ROWS_AT_ONCE]
            rows = {name: _array(piece[name]) for name in network.inputs}
            with torch.no_grad():
                found = network.factors(all_crops(network, to_tensors(rows, loaded.shape))).numpy()
            yield pd.DataFrame({"track_idx": piece["track_idx"].to_numpy(), "factors": list(found)})


def _array(column: pd.Series) -> np.ndarray:
    if column.dtype == object:
        return np.stack(list(column))
    return column.to_numpy(copy=True)
