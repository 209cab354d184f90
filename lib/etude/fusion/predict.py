"""Predict factors of every track with features on Spark: the network is broadcast, tracks come in Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from etude.fusion.shape import ExampleShape

# Spark limits Arrow batches by rows, not bytes; partitions of at most this size keep batches small.
_PARTITION_BYTES = 32 * 2**20
_ROWS_AT_ONCE = 256


def predict(features: DataFrame, tracks: int, network: bytes, shape: ExampleShape) -> DataFrame:
    """Predict the factors of each row of `features`.

    Args:
        features: rows as `etude.fusion.features.features` makes them.
        tracks: upper limit of the number of rows.
        network: a checkpoint's bytes.
        shape: size of a row's arrays.

    Returns:
        track_idx, factors (array<float>, original scale).
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

    # A task occupies one slot and therefore uses one thread.
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
