"""Compare the job ingest with a plain script of Spark that reads the same log and writes plays and interactions.

    python benchmarks/ingest.py build/bench/ingest.json

The logs are synthetic: power-law popularity, a hundredth of the rows repeated. Both run with the same Java options and
6 GB of heap. At 50 million plays there is one pair; then a night of a million plays comes on top. About 20 minutes.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from _measured import Measured, machine, run, save
from wmf_job import CORES, spread

FOLDER = Path("build/bench/ingest")
SUBMIT = ["spark-submit", "--master", f"local[{CORES}]", "--driver-memory", "6g"]
FIRST_DAY = 20_000  # since 1970: 2024-10-04
SIZES = {
    "5M": ("parquet", 5_000_000, 100_000, 40_000, 5, 2),
    "5M, TSV": ("delimited", 5_000_000, 100_000, 40_000, 5, 1),
    "50M": ("parquet", 50_000_000, 1_000_000, 385_000, 50, 1),
}
NIGHT = 1_000_000


def make_log(folder: Path, kind: str, events: int, users: int, tracks: int, days: range) -> None:
    """Write a log in files of about a million rows, of which the last hundredth repeats the first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(days.start)
    of_users = np.cumsum(np.exp(np.random.default_rng(1).standard_normal(users)))
    of_tracks = np.cumsum(1 / np.arange(1, tracks + 1) ** 0.8)
    shuffled = np.random.default_rng(2).permutation(tracks)
    user_ids = pa.array([f"{k * 2654435761 % 2**40:010x}{k:030x}" for k in range(users)])
    track_ids = pa.array([f"TR{k * 2654435761 % 2**32:08X}{k:08X}" for k in range(tracks)])
    files = max(1, events // 1_250_000)
    for number in range(files):
        n = events // files
        user = np.searchsorted(of_users, rng.random(n) * of_users[-1])
        track = shuffled[np.searchsorted(of_tracks, rng.random(n) * of_tracks[-1])]
        at = np.sort(rng.integers(days.start * 86_400, days.stop * 86_400, n))
        for column in (user, track, at):
            column[-n // 100 :] = column[: n // 100]
        times = pa.array(at, pa.timestamp("s"))
        names = ["user_id", "track_id", "played_at"]
        ids = [user_ids.take(pa.array(user)), track_ids.take(pa.array(track))]
        file = folder / f"part-{number:03}.{'parquet' if kind == 'parquet' else 'tsv'}"
        if kind == "parquet":
            pq.write_table(pa.table([*ids, times.cast(pa.timestamp("us", "UTC"))], names), file)
        else:
            options = pc.WriteOptions(delimiter="\t", quoting_style="none")
            pc.write_csv(pa.table([*ids, times.cast(pa.string())], names), file, options)


def plain(log: Path, kind: str) -> Measured:
    out = FOLDER / "plain"
    shutil.rmtree(out, ignore_errors=True)
    return run([*SUBMIT, "benchmarks/_plain_ingest.py", str(log), kind, str(out)], FOLDER / "plain.log")


def etudes(log: Path, kind: str, lake: Path, day: str) -> tuple[Measured, dict[str, Any]]:
    settings = [f"lake.root={lake}", f"listening.path={log}", f"listening.format={kind}", "listening.source=log"]
    measured = run([*SUBMIT, "jobs/ingest.py", *settings, "--run-id", day, "--batch-date", day], FOLDER / "etude.log")
    line = json.loads(measured.last_line)
    return measured, {"in_job_s": line["seconds"], "rows": line["rows"]}


def compare(name: str, kind: str, events: int, users: int, tracks: int, days: int, pairs: int) -> dict[str, Any]:
    """Run both in turn at one size; leave the lake."""
    log, lake = FOLDER / "log", FOLDER / "lake"
    make_log(log, kind, events, users, tracks, range(FIRST_DAY, FIRST_DAY + days))
    rows: dict[str, list[dict[str, Any]]] = {"plain": [], "etude": []}
    for pair in range(pairs):
        rows["plain"].append(plain(log, kind).figures())
        shutil.rmtree(lake, ignore_errors=True)
        measured, told = etudes(log, kind, lake, "2024-12-01")
        rows["etude"].append({**measured.figures(), **told})
        print(f"ingest: {name} pair {pair + 1} {rows['plain'][-1]} {rows['etude'][-1]}", file=sys.stderr, flush=True)
    ratios = [p["wall_s"] / e["wall_s"] for p, e in zip(rows["plain"], rows["etude"], strict=True)]
    return {"size": {"events": events, "users": users, "tracks": tracks}, "throughput": spread(ratios), "runs": rows}


def main(path: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {name: compare(name, *size) for name, size in SIZES.items()}
    _, _, users, tracks, days, _ = SIZES["50M"]
    make_log(FOLDER / "night", "parquet", NIGHT, users, tracks, range(FIRST_DAY + days, FIRST_DAY + days + 1))
    measured, told = etudes(FOLDER / "night", "parquet", FOLDER / "lake", "2024-12-02")
    alone, _ = etudes(FOLDER / "night", "parquet", FOLDER / "alone", "2024-12-02")
    night = {"events": NIGHT, "on_top": {**measured.figures(), **told}, "alone": alone.figures()}
    save(path, {"machine": machine(), "sizes": found, "night": night})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
