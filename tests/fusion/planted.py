"""Small tables with a planted signal: a track's factors follow from its artist, its year, its tags and its mel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from etude.lake import Lake

RANK, N_MELS, N_FRAMES = 6, 8, 12
TAGS = ("slow", "fast", "loud", "soft")


@dataclass(frozen=True)
class Planted:
    """The corpus in numpy."""

    artist: np.ndarray
    year: np.ndarray
    tag: np.ndarray
    mel: np.ndarray
    factors: np.ndarray
    split: np.ndarray


def plant(tracks: int = 240, artists: int = 20, seed: int = 0) -> Planted:
    """Tracks whose factors are the sum of an artist's, a tag's and a sound's vector, and noise."""
    random = np.random.default_rng(seed)
    artist = random.integers(artists, size=tracks)
    year = 1980 + random.integers(20, size=tracks)
    tag = random.integers(len(TAGS), size=tracks)
    pitch = random.integers(N_MELS, size=tracks)
    mel = -40 + 3 * random.standard_normal((tracks, N_MELS, N_FRAMES))
    mel[np.arange(tracks), pitch] += 20
    factors = (
        random.standard_normal((artists, RANK))[artist]
        + random.standard_normal((len(TAGS), RANK))[tag]
        + random.standard_normal((N_MELS, RANK))[pitch]
        + 0.1 * random.standard_normal((tracks, RANK))
    )
    split = np.array(["train", "validation", "test"])[np.searchsorted([0.7, 0.85], random.random(tracks))]
    return Planted(artist, year, tag, mel.astype("f4"), (0.1 * factors).astype("f4"), split)


def write(lake: Lake, planted: Planted, mel_settings: str, wmf_run: str = "w", protocol: str = "strict") -> None:
    """Tables tracks, mel, track_factors, splits. Every 10th track has no mel, every 7th no artist, every 5th no tags."""
    spark = lake.spark
    n = len(planted.artist)
    rows = []
    for i in range(n):
        tags = None if i % 5 == 0 else [TAGS[planted.tag[i]], f"rare{i}"]
        name = None if i % 7 == 0 else f"a{planted.artist[i]}"
        year = None if i % 3 == 0 else int(planted.year[i])
        rows.append((f"t{i}", f"Title {i}", name, name, year, tags, tags and [0.75, 0.25], None, i, {}))
    _replace(lake, "tracks", rows)
    mel = [
        (f"t{i}", crop, mel_settings, (planted.mel[i] + crop).ravel().tolist(), N_MELS, N_FRAMES, 8000, 0.0, 9.0,
         f"file:///{i}.wav", 1, None, "c")
        for i in range(n) if i % 10 for crop in (0, 1)
    ]  # fmt: skip
    _replace(lake, "mel", mel)
    held_out = "held_out" if protocol == "strict" else "fit"
    _replace(
        lake,
        "track_factors",
        [
            (wmf_run, i, planted.factors[i].tolist(), "fit" if planted.split[i] == "train" else held_out)
            for i in range(n)
        ],
    )
    _replace(lake, "splits", [(wmf_run, "track", i, -1, str(planted.split[i])) for i in range(n)])


def _replace(lake: Lake, table: str, rows: list[tuple]) -> None:
    from etude.lake.tables import TABLES

    frame = frame_of(lake.spark, table, rows)
    if table == "mel":
        frame = frame.withColumn("file_mtime", F.to_timestamp(F.lit("2026-01-01")))
    lake.replace(table, frame.select(*TABLES[table].column_names))


def frame_of(spark: SparkSession, table: str, rows: list[tuple]):
    """Rows of a table of the lake, nulls allowed."""
    from pyspark.sql import types as T

    from etude.lake.tables import TABLES

    schema = T.StructType([T.StructField(f.name, f.dataType, True) for f in TABLES[table].schema.fields])
    return spark.createDataFrame(rows, schema)
