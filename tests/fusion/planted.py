"""Make small tables with a planted signal: a track's factors follow from its artist, its tag and its mel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from etude.config.train import TrainSettings
from etude.frames import small_frame
from etude.fusion.checkpoint import Origin
from etude.fusion.loop import Training
from etude.fusion.moments import Moments
from etude.fusion.shape import ExampleShape
from etude.fusion.shards import Shard
from etude.fusion.vocabulary import Vocabulary
from etude.lake import Lake
from etude.lake.tables import TABLES

RANK, N_MELS, N_FRAMES = 6, 8, 12
TAGS = ("slow", "fast", "loud", "soft")


@dataclass(frozen=True)
class Planted:
    """Hold the corpus in numpy."""

    artist: np.ndarray
    year: np.ndarray
    tag: np.ndarray
    mel: np.ndarray
    factors: np.ndarray
    split: np.ndarray


def plant(tracks: int = 240, artists: int = 20, seed: int = 0) -> Planted:
    """Make tracks whose factors are the sum of an artist's, a tag's and a sound's vector, and noise."""
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
    """Write tracks, mel, track_factors, splits. Each 10th track lacks mel, each 7th artist, 5th tags, 3rd year."""
    n = len(planted.artist)
    rows = []
    for i in range(n):
        tags = None if i % 5 == 0 else [TAGS[planted.tag[i]], f"rare{i}"]
        name = None if i % 7 == 0 else f"a{planted.artist[i]}"
        year = None if i % 3 == 0 else int(planted.year[i])
        rows.append(track_row(i, name, year, tags, tags and [0.75, 0.25]))
    lake.replace("tracks", rows)
    mel = [
        (f"t{i}", crop, mel_settings, (planted.mel[i] + crop).ravel().tolist(), N_MELS, N_FRAMES, 8000, 0.0, 9.0,
         f"file:///{i}.wav", 1, datetime(2026, 1, 1, tzinfo=timezone.utc), "c")
        for i in range(n) if i % 10 for crop in (0, 1)
    ]  # fmt: skip
    lake.replace("mel", small_frame(lake.spark, mel, TABLES["mel"].schema))  # Spark checks the table's constraints
    held_out = "held_out" if protocol == "strict" else "fit"
    origins = ["fit" if split == "train" else held_out for split in planted.split]
    put(lake, "track_factors", [(wmf_run, i, planted.factors[i].tolist(), origins[i]) for i in range(n)])
    put(lake, "splits", [(wmf_run, "track", i, -1, str(planted.split[i])) for i in range(n)])


def put(lake: Lake, table: str, rows: list[tuple]) -> None:
    """Replace a table without Spark."""
    lake.replace(table, [dict(zip(TABLES[table].column_names, row, strict=True)) for row in rows])


def frame_of(spark: SparkSession, table: str, rows: list):
    """Return rows (tuples, or dictionaries that may lack columns) of a table of the lake, nulls allowed."""
    schema = T.StructType([T.StructField(f.name, f.dataType, True) for f in TABLES[table].schema.fields])
    whole = [tuple(map(row.get, schema.names)) if isinstance(row, dict) else row for row in rows]
    return small_frame(spark, whole, schema)


def track_row(idx: int, artist=None, year=None, tags=None, weights=None) -> dict:
    """Return a row of `tracks`."""
    names = {"track_id": f"t{idx}", "title": f"Title {idx}", "artist_id": artist, "artist_name": artist}
    return {**names, "release_year": year, "tags": tags, "tag_weights": weights, "track_idx": idx, "origins": {}}


SHAPE = ExampleShape(N_MELS, N_FRAMES, 1, artists=22, years=22, tags=5, tags_per_track=2, rank=RANK)


def columns_of(planted: Planted) -> dict[str, np.ndarray]:
    """Return features and targets of the corpus, with every artist, year and tag known."""
    n = len(planted.artist)
    return {
        "track_idx": np.arange(n, dtype="i4"),
        "mel": planted.mel.reshape(n, -1),
        "has_mel": np.ones(n, dtype="i4"),
        "artist_index": (planted.artist + 2).astype("i4"),
        "year_index": (planted.year - 1978).astype("i4"),
        "tag_indices": np.stack([planted.tag + 1, np.zeros(n)], axis=1).astype("i4"),
        "tag_weights": np.tile(np.array([1, 0], dtype="f4"), (n, 1)),
        "target": planted.factors,
    }


def write_shards(folder: Path, columns: dict[str, np.ndarray], count: int) -> tuple[Shard, ...]:
    """Write Parquet files as the table `examples` has them, without Spark."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, rows in enumerate(np.array_split(np.arange(len(columns["track_idx"])), count)):
        file = folder / f"shard={number}.parquet"
        table = pa.table({name: _column(values[rows]) for name, values in columns.items()})
        pq.write_table(table, file)
        shards.append(Shard(number, file.as_uri(), len(rows)))
    return tuple(shards)


def _column(values: np.ndarray) -> pa.Array:
    return pa.array(list(values)) if values.ndim == 2 else pa.array(values)


TINY = {
    "channels": (4, 4, 4), "lstm_units": 6, "audio_size": 6, "mlp": (16, 8), "artist_size": 4, "year_size": 2,
    "tag_size": 3, "batch_size": 8, "epochs": 3, "distribution": "single", "reader": "arrow", "threads": 1,
    "learning_rate": 0.01,
}  # fmt: skip


def training_of(folder: Path, planted: Planted | None = None, shards: int = 8, **settings) -> Training:
    """Return a small training over shards written below `folder`; checkpoints go to `folder`/checkpoints."""
    planted = planted or plant(120)
    columns = columns_of(planted)
    chosen = TrainSettings(**{**TINY, **settings})
    parts = {}
    for split, count in (("train", shards), ("validation", 2)):
        rows = planted.split == split
        parts[split] = write_shards(folder / split, {k: v[rows] for k, v in columns.items()}, count)
    targets = planted.factors[planted.split == "train"]
    return Training(
        settings=chosen,
        shape=SHAPE,
        vocabulary=Vocabulary(tuple(f"a{i}" for i in range(20)), tuple(range(1980, 2000)), TAGS),
        origin=Origin("r", "w", 0, "strict", 0, "s"),
        moments={
            "target": Moments(targets.mean(axis=0), targets.std(axis=0)),
            "mel": Moments(np.full(N_MELS, -38, "f4"), np.full(N_MELS, 7, "f4")),
        },
        training_shards=parts["train"],
        validation_shards=parts["validation"],
        folder=(folder / "checkpoints").as_uri(),
    )
