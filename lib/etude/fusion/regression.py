"""Fit the ridge regression to the examples of a run: on the driver, to a sample of them if they are too many."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.train import TrainSettings
from etude.fusion.ridge import STATISTICS, Ridge, choose, inputs_of, sound_statistics
from etude.fusion.shape import ExampleShape

COLUMNS = ("artist_index", "year_index", "tag_indices", "tag_weights", "has_mel")
"""Columns of the examples that the regression reads, beside `mel`."""
_ROWS_AT_ONCE = 256
_SHARES = 2**20


def fit_ridge(examples: DataFrame, shape: ExampleShape, settings: TrainSettings, log: logging.Logger) -> Ridge:
    """Fit the regression to the training tracks, with penalties chosen on the validation tracks.

    Args:
        examples: rows of `examples` of one run.
        shape: their shape.
        settings: `ridge_mb` limits what is collected; a hash of (`seed`, track_idx) chooses a sample that fits it.
        log: told if only a sample was read.
    """
    some = examples.where(F.col("split").isin("train", "validation"))
    n = some.count()
    row_bytes = 4 * (len(COLUMNS) + 2 * shape.tags_per_track + STATISTICS * shape.n_mels + shape.rank)
    share = settings.ridge_mb * 2**20 / max(1, n * row_bytes)
    if share < 1:
        log.warning("the ridge regression reads %.0f%% of %d examples: train.ridge_mb", 100 * share, n)
        drawn = F.pmod(F.xxhash64(F.lit(settings.seed), F.lit("ridge"), "track_idx"), F.lit(_SHARES))
        some = some.where(drawn < int(share * _SHARES))
    rows = _collected(some, shape)
    inputs = inputs_of(rows, shape, settings.fields if settings.reads_metadata else ())
    learned = rows["split"] == "train"
    known = ~learned
    return choose(inputs.where(learned), rows["target"][learned], inputs.where(known), rows["target"][known])


def with_sound(rows: pd.DataFrame, shape: ExampleShape) -> dict[str, np.ndarray]:
    """Return the arrays that `ridge.inputs_of` reads, from rows with COLUMNS and `mel`."""
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    sound = [sound_statistics(stacked(rows["mel"].iloc[first : first + _ROWS_AT_ONCE]), shape) for first in starts]
    return {**{name: stacked(rows[name]) for name in COLUMNS}, "sound": np.concatenate(sound)}


def stacked(column: pd.Series) -> np.ndarray:
    """Return a column of numbers or of arrays of equal length as one array."""
    return np.stack(list(column)) if column.dtype == object else column.to_numpy(copy=True)


def _collected(examples: DataFrame, shape: ExampleShape) -> dict[str, np.ndarray]:
    """Return the columns of some examples, sorted by track, so that results don't depend on partitions."""

    def summed_up(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if len(batch):
                sound = pd.Series(list(with_sound(batch, shape)["sound"]), index=batch.index)
                yield batch.drop(columns="mel").assign(sound=sound)

    read = examples.select("track_idx", "split", *COLUMNS, "target", "mel")
    kept = [f"{field.name} {field.dataType.simpleString()}" for field in read.drop("mel").schema]
    schema = ", ".join([*kept, "sound array<float>"])
    table = read.mapInPandas(summed_up, schema).toArrow()
    order = np.argsort(table["track_idx"].to_numpy())
    return {name: _array(table[name])[order] for name in table.column_names}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_list(column.type):
        return column.to_numpy()
    numbers = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(len(column), len(numbers) // len(column))
