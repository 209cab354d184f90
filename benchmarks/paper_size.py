"""Run conf/paper.yaml once at the paper's size: 10,000 users, 50,000 tracks, two epochs on the CPU.

    python benchmarks/paper_size.py build/bench/paper_size.json

The corpus is synthetic (`etude demo-corpus` without audio). Three seconds of each piece are rendered to an array and
become a row of `mel`; 50,000 files would say nothing about training.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from _measured import Measured, run, write
from pyspark import cloudpickle
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from etude.audio.recipe import Recipe
from etude.audio.spectrogram import log_mel
from etude.config import load_settings
from etude.demo.latent import generator, plant_tracks
from etude.demo.names import track_ids
from etude.demo.render import render
from etude.lake import Lake
from etude.session import spark_session

FOLDER = Path("build/bench/paper_size")
SIZE = ["demo.users=10000", "demo.tracks=50000", "demo.events=1700000", "demo.audio=false", "demo.bad_rows=0"]
_MEL = "track_id string, mel array<float>"


def main(path: str) -> None:
    """Make the corpus, run the stages, write the figures."""
    measured, rendered = make(FOLDER, SIZE)
    for name in ("wmf", "train", "topn"):
        measured[name] = job(FOLDER, name, "train.epochs=2")
    lines = {name: json.loads(each.last_line) for name, each in measured.items()}
    figures = {"rows": {name: lines[name].get("rows") for name in measured}, "rendered_s": rendered}
    write(path, {**figures, "metrics": metrics()}, **measured)


def make(folder: Path, size: list[str]) -> tuple[dict[str, Measured], float]:
    """Make a corpus, ingest it and render its pieces; return what the jobs took, and the seconds of rendering."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    measured = {"corpus": run(["etude", "demo-corpus", str(folder / "landing"), *size], folder / "corpus.log")}
    catalogue = json.dumps([{"path": f"{folder}/landing/catalogue/catalogue.csv", "tag_delimiter": "|"}])
    measured["ingest"] = job(
        folder, "ingest", f"listening.path={folder}/landing/plays", f"catalogue.sources={catalogue}"
    )
    return measured, render_all(folder, size)


def job(folder: Path, name: str, *arguments: str, run_id: str = "paper") -> Measured:
    """Run one job on the lake below a folder."""
    print(f"{folder.name}: {name} {' '.join(arguments)}", file=sys.stderr, flush=True)
    common = ["--config", "conf/paper.yaml", f"lake.root={folder}/lake", "--run-id", run_id]
    return run(["spark-submit", f"jobs/{name}.py", *common, *arguments], folder / f"{name}.log")


def render_all(folder: Path, size: list[str]) -> float:
    """Write rows of `mel` of every piece; return the seconds."""
    settings = load_settings(["conf/paper.yaml"], [f"lake.root={folder}/lake"])
    begun = datetime.now(timezone.utc)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Spark's workers can't import it
    with spark_session("paper_size", settings.spark, settings.lake) as spark:
        lake, recipe = Lake(settings.lake.root, spark), Recipe(**settings.mel.recipe)
        rows = spectrograms(spark, recipe, size).select(
            "track_id",
            F.lit(0).alias("crop"),
            F.lit(settings.mel.settings_sha256).alias("settings_sha256"),
            "mel",
            F.lit(recipe.n_mels).alias("n_mels"),
            F.lit(recipe.n_frames).alias("n_frames"),
            F.lit(recipe.sample_rate).alias("sample_rate"),
            F.lit(0.0).alias("offset_s"),
            F.lit(recipe.crop_s).alias("duration_s"),
            F.lit("rendered").alias("audio_uri"),
            F.lit(0).cast("bigint").alias("file_size"),
            F.lit(begun).alias("file_mtime"),
            F.lit("rendered").alias("content_sha256"),
        )
        lake.replace("mel", rows)
    return (datetime.now(timezone.utc) - begun).total_seconds()


def spectrograms(spark: SparkSession, recipe: Recipe, size: list[str]):
    """Return track_id, mel of every piece of the corpus."""
    demo = load_settings((), size).demo
    tracks = plant_tracks(demo)
    ids = np.array(track_ids(demo.tracks).to_pylist())
    shared = spark.sparkContext.broadcast((tracks.style, tracks.key, ids))

    def work(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        style, key, names = shared.value
        for batch in batches:
            numbers = batch["id"].to_numpy()
            mels = [piece(style[n], int(key[n]), n, demo.seed, recipe) for n in numbers]
            yield pd.DataFrame({"track_id": names[numbers], "mel": mels})

    pieces = spark.createDataFrame(pa.table({"id": np.arange(demo.tracks)})).repartition(64)
    return pieces.mapInPandas(work, _MEL)


def piece(style: np.ndarray, key: int, number: int, seed: int, recipe: Recipe) -> np.ndarray:
    """Return the flat spectrogram of a piece's first seconds."""
    rng = generator(seed, "sound", int(number))
    samples = render(style, key, recipe.sample_rate, recipe.crop_s, rng)
    return log_mel(samples, recipe).ravel()


def metrics() -> dict[str, float]:
    """Return the figures of new tracks: recall and AUC by model."""
    rows = Lake(f"{FOLDER}/lake").look("metrics", job="topn", slice="cold", metric=["auc", "recall"], k=[0, 20])
    return {f"{row['model']} {row['metric']}@{row['k']}": row["value"] for row in rows}


if __name__ == "__main__":
    main(sys.argv[1])
