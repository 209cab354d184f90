"""Number the artists, years and tags that have their own embedding: those of training tracks, most common first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.config.train import TrainSettings
from etude.frames import small_frame

UNKNOWN, NONE = 0, 1
"""Rows of the artist and year embeddings for a value that no training track has, and for no value.

Row 0 of the tag embedding stands for both.
"""
FIRST_ARTIST = FIRST_YEAR = 2
FIRST_TAG = 1


@dataclass(frozen=True)
class Vocabulary:
    """Hold values in the order of their indices, which begin at FIRST_ARTIST, FIRST_YEAR and FIRST_TAG."""

    artists: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, list[Any]]:
        """Return lists of plain values, as the checkpoint keeps them."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, list[Any]]) -> Vocabulary:
        """Reverse `as_dict`."""
        return cls(**{name: tuple(items) for name, items in values.items()})


def build_vocabulary(training_tracks: DataFrame, settings: TrainSettings) -> Vocabulary:
    """Number the artists, years and tags of the training tracks (rows of `tracks`), capped by `train.max_*`.

    Fields that `train.fields` leaves out stay empty. The caps limit the number of values collected here.
    """
    read = training_tracks.select("artist_id", "release_year", "tags").persist()
    columns = {
        "artist": (F.col("artist_id"), settings.max_artists),
        "year": (F.col("release_year"), settings.max_years),
        "tags": (F.explode("tags"), settings.max_tags),
    }
    found = {
        field: _most_common(read.select(column.alias("value")), most)
        for field, (column, most) in columns.items()
        if field in settings.fields
    }
    read.unpersist()
    return Vocabulary(found.get("artist", ()), found.get("year", ()), found.get("tags", ()))


def _most_common(values: DataFrame, most: int) -> tuple[Any, ...]:
    counted = values.where(F.col("value").isNotNull()).groupBy("value").agg(F.count("*").alias("n"))
    return tuple(row["value"] for row in counted.orderBy(F.desc("n"), "value").limit(most).collect())


def as_frame(spark: SparkSession, values: tuple[Any, ...], value: str, index: str, kind: str, first: int) -> DataFrame:
    """Return a field's values (column `value`, SQL type `kind`) and their indices from `first` (column `index`)."""
    rows = [(one, place) for place, one in enumerate(values, start=first)]
    return small_frame(spark, rows, f"{value} {kind}, {index} int")
