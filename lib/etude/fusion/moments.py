"""Compute mean and deviation of array columns over the training rows, for standardised inputs and targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import DataCheckError
from etude.fusion.shape import ExampleShape

# An Arrow batch may hold 10,000 mel rows: in float64, and squared, they would take a gigabyte.
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Moments:
    """Hold the mean and standard deviation of each place of an array, float32; constant places have deviation 1."""

    mean: np.ndarray
    std: np.ndarray


def moments_of(rows: DataFrame, shape: ExampleShape) -> dict[str, Moments]:
    """Compute the moments of targets, and of mel values if the shape has any, over training rows of `examples`.

    Raises:
        DataCheckError: there are no rows, or a value is NaN or infinite.
    """
    moments = {"target": column_moments(rows, "target", shape.rank)}
    if shape.mel_size:
        heard = rows.where(F.col("has_mel") == 1)
        moments["mel"] = column_moments(heard, "mel", shape.n_mels, shape.n_frames)
    return moments


def column_moments(rows: DataFrame, column: str, places: int, repeats: int = 1) -> Moments:
    """Compute the moments of `column`, reading each array as (any number of) x places x repeats.

    For factors `places` is their length; for mel it is n_mels, and the frames are repeats.

    Raises:
        DataCheckError: there are no rows, or a value is NaN or infinite.
    """
    sums = partial(_partial_sums, places=places, repeats=repeats)
    parts = rows.select(F.col(column).alias("values")).mapInPandas(
        sums, "place int, n bigint, total double, squares double"
    )
    found = parts.groupBy("place").agg(F.sum("n"), F.sum("total"), F.sum("squares")).orderBy("place").collect()
    if len(found) != places:
        raise DataCheckError(f"examples.{column}: no training rows to compute statistics from")
    _, n, total, squares = (np.array(values, dtype=np.float64) for values in zip(*found, strict=True))
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise DataCheckError(f"examples.{column}: NaN or infinite values in training rows")
    # The deviation of a constant place is rounding error only.
    std[std < 1e-6 * np.maximum(np.abs(mean), 1e-12)] = 1.0
    return Moments(mean.astype(np.float32), std.astype(np.float32))


def _partial_sums(batches: Iterator[pd.DataFrame], places: int, repeats: int) -> Iterator[pd.DataFrame]:
    n, total, squares = 0, np.zeros(places), np.zeros(places)
    for batch in batches:
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            rows = list(batch["values"].iloc[start : start + _ROWS_AT_ONCE])
            values = np.stack(rows).astype(np.float64).reshape(len(rows), -1, places, repeats)
            n += values.size // places
            total += values.sum(axis=(0, 1, 3))
            squares += np.square(values).sum(axis=(0, 1, 3))
    if n:
        yield pd.DataFrame({"place": np.arange(places, dtype=np.int32), "n": n, "total": total, "squares": squares})
