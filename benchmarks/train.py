"""Measure the readers of training examples beside a plain scan, and how long a training waits for its input.

    python benchmarks/train.py build/bench/train.json

10,000 examples with three seconds of sound each (24 MB a thousand). A reader's rate is that of the rows as training
gets them: whole shards, ordered, permuted, cut into batches. The plain scan reads the same columns of the same files by
pyarrow in one thread, and turns them into arrays in the order of the files.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from _measured import machine, save
from deltalake import DeltaTable
from paper_size import job, make

from etude.fusion.readers import epoch_batches, reader
from etude.fusion.shards import Shard, training_turn
from etude.lake import Lake

FOLDER = Path("build/bench/train")
SIZE = ["demo.users=2000", "demo.tracks=12500", "demo.events=340000", "demo.audio=false", "demo.bad_rows=0"]
COLUMNS = ("mel", "has_mel", "artist_index", "year_index", "tag_indices", "tag_weights", "target")
ROUNDS = 5
RANKS = {1: ["train.distribution=single"], 2: ["train.distribution=torch", "train.workers=2"]}


def shards() -> tuple[Shard, ...]:
    """Return the shards of the training split."""
    table = DeltaTable(f"{FOLDER}/lake/examples")
    files = sorted(table.file_uris([("run_id", "=", "fusion-petastorm-1"), ("split", "=", "train")]))
    return tuple(Shard(n, f"file://{file}", pq.read_metadata(file).num_rows) for n, file in enumerate(files))


def scan(files: tuple[Shard, ...]) -> int:
    """Read by pyarrow alone."""
    data, rows = ds.dataset([shard.uri.removeprefix("file://") for shard in files]), 0
    for batch in data.to_batches(columns=list(COLUMNS), use_threads=False):
        for name in COLUMNS:
            column = batch.column(name)
            (column.flatten() if column.type.num_fields else column).to_numpy(zero_copy_only=False)
        rows += batch.num_rows
    return rows


def read(name: str) -> Callable[[tuple[Shard, ...]], int]:
    """Return a function that reads an epoch's batches by one of the readers."""

    def of_epoch(files: tuple[Shard, ...]) -> int:
        turn = training_turn(files, 0, 1, 0, 1, 256)
        return sum(len(rows["target"]) for rows in epoch_batches(reader(name), COLUMNS, turn, 0, 1))

    return of_epoch


def readers() -> dict[str, Any]:
    """Return the rows per second of the scan and of both readers, the three in turn."""
    files, ways = shards(), {"scan": scan, "arrow": read("arrow"), "petastorm": read("petastorm")}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.monotonic()
            rows = way(files)
            rates[name].append(rows / (time.monotonic() - begun))
    print(f"train: {rates}", file=sys.stderr, flush=True)
    return {"rows": sum(shard.rows for shard in files), "rows_per_s": {k: median(v) for k, v in rates.items()}}


def training(model: str, name: str, ranks: int) -> dict[str, Any]:
    """Train three epochs; return what the last one says."""
    run_id = f"{model}-{name}-{ranks}"
    settings = [f"train.model={model}", f"train.reader={name}", "train.epochs=3", *RANKS[ranks]]
    measured = job(FOLDER, "train", *settings, run_id=run_id)
    lake = Lake(f"{FOLDER}/lake")
    rows = lake.look("metrics", job="train", run_id=run_id, metric=["rows_per_s", "input_wait_share"], step=3)
    told = {row["metric"]: row["value"] for row in rows}
    found = {"model": model, "reader": name, "ranks": ranks, **told, **measured.figures()}
    print(f"train: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main(path: str) -> None:
    make(FOLDER, SIZE)
    job(FOLDER, "wmf")
    asked = [("fusion", name, ranks) for ranks in RANKS for name in ("petastorm", "arrow")]
    trainings = [training(*each) for each in [*asked, ("cnn", "petastorm", 1), ("embeddings", "petastorm", 1)]]
    save(path, {"machine": machine(), "readers": readers(), "trainings": trainings})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
