"""Fit the ridge regression to the examples of a run: on the driver, to a sample of them if they are too many."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from etude.config.train import TrainSettings
from etude.fusion.ridge import STATISTICS, Floats, Inputs, Ridge, choose, fit_without, inputs_of, sound_statistics
from etude.fusion.shape import ExampleShape

COLUMNS = ("artist_index", "year_index", "tag_indices", "tag_weights", "has_mel")
"""Columns of the examples that the regression reads, beside `mel`."""
FOLDS = 5
NO_FOLD = -1
_ROWS_AT_ONCE = 256
_SHARES = 2**20


@dataclass(frozen=True)
class Regressions:
    """Hold the regression for tracks that it hasn't seen, and those for the training tracks.

    A regression knows its training tracks' factors by heart, most of all where an artist has one track. As a prior of
    their plays it would count these plays twice. So each training track has the prediction of a regression to others.

    Attributes:
        whole: to all training tracks.
        without: to the training tracks but those of fold 0, 1, ..., FOLDS - 1.
    """

    whole: Ridge
    without: tuple[Ridge, ...]

    def predict(self, inputs: Inputs, folds: np.ndarray) -> Floats:
        """Return factors (n, rank) of tracks with these (n,) folds."""
        found = np.empty((len(inputs), len(self.whole.intercept)), np.float32)
        for fold in np.unique(folds):
            mine = folds == fold
            ridge = self.whole if fold == NO_FOLD else self.without[fold]
            found[mine] = ridge.predict(inputs.where(mine))
        return found


def fold_of(seed: int) -> Column:
    """Return the fold of a training track, by a hash of (seed, track_idx); NO_FOLD of any other; reads `split`."""
    fold = F.pmod(F.xxhash64(F.lit(seed), F.lit("fold"), "track_idx"), F.lit(FOLDS)).cast("int")
    return F.when(F.col("split") == "train", fold).otherwise(NO_FOLD)


def fit_ridge(examples: DataFrame, shape: ExampleShape, settings: TrainSettings, log: logging.Logger) -> Regressions:
    """Fit the regressions to the training tracks, with penalties chosen on the validation tracks.

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
    rows = _collected(some.withColumn("fold", fold_of(settings.seed)), shape)
    inputs = inputs_of(rows, shape, settings.fields if settings.reads_metadata else ())
    learned = rows["split"] == "train"
    ours, theirs = inputs.where(learned), inputs.where(~learned)
    targets = rows["target"][learned]
    whole = choose(ours, targets, theirs, rows["target"][~learned])
    return Regressions(whole, fit_without(ours, targets, rows["fold"][learned], FOLDS, whole))


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

    read = examples.select("track_idx", "split", "fold", *COLUMNS, "target", "mel")
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
