"""Compare the job topn, Delta to Delta, with a script that searches by implicit's topk, and with MLlib.

    python benchmarks/topn.py build/bench/topn.json

N = 100, rank 100, heard tracks excluded (not by MLlib), as many threads as cores. Factors are fitted to synthetic plays
of power-law popularity. At the full shape of the Taste Profile both run once.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from _measured import machine, run, save
from wmf_job import CORES, make_lake, put, read, spread

from etude.config import load_settings
from etude.config.load import redacted
from etude.lake import ledger
from etude.lake.lake import Lake
from etude.lake.runs import Run, utc_now

FOLDER = Path("build/bench/topn")
RANK, N = 100, 100
SUBMIT = ["spark-submit", "--master", f"local[{CORES}]", "--driver-memory", "4g"]
NAMED = ["evaluation.protocol=none", "--run-id", "bench", "--batch-date", "2026-01-31"]


def make(lake: Path, users: int, tracks: int, interactions: int) -> None:
    """Make a lake with plays and the factors that are fitted to them."""
    make_lake(lake, users, tracks, interactions)
    pairs = read(lake / "interactions", ["user_idx", "track_idx", "play_count"])
    user, track = (pa.array([f"{side}{k}" for k in range(n)]) for side, n in (("user", users), ("track", tracks)))
    put(lake, "plays", event_id=pairs["user_idx"].cast(pa.string()), user_id=user.take(pairs["user_idx"]),
        track_id=track.take(pairs["track_idx"]), play_count=pairs["play_count"])  # fmt: skip
    made = Run("made", "ingest", date(2026, 1, 31), "none", utc_now(), status="succeeded", ended_at=utc_now())
    made.settings = redacted(load_settings((), []))
    made.outputs = {table: Lake(str(lake)).version(table) for table in ("plays", "interactions")}
    ledger.write(Lake(str(lake)), made)
    settings = [f"lake.root={lake}", f"wmf.rank={RANK}", "wmf.iterations=5"]
    run([*SUBMIT, "jobs/wmf.py", *settings, *NAMED], FOLDER / "wmf.log")


def etudes(lake: Path) -> dict[str, Any]:
    measured = run([*SUBMIT, "jobs/topn.py", f"lake.root={lake}", f"topn.n={N}", *NAMED], FOLDER / "topn.log")
    line = json.loads(measured.last_line)
    return {**measured.figures(), "in_job_s": line["seconds"], "rows": line["rows"]}


def implicits(lake: Path) -> dict[str, Any]:
    script = [sys.executable, "benchmarks/_implicit_topn.py", str(lake), "bench", str(FOLDER / "implicit")]
    measured = run([*script, str(N), str(CORES)], FOLDER / "implicit.log")
    return {**measured.figures(), **json.loads(measured.last_line)}


def mllibs(lake: Path) -> dict[str, Any]:
    script = [*SUBMIT, "benchmarks/_mllib_topn.py", str(lake), str(FOLDER / "mllib"), str(RANK), str(N)]
    measured = run(script, FOLDER / "mllib.log")
    return {**measured.figures(), **json.loads(measured.last_line)}


def compare(lake: Path, peer: Any, pairs: int) -> dict[str, Any]:
    """Run both in turn."""
    rows: dict[str, list[dict[str, Any]]] = {"etude": [], "peer": []}
    for _ in range(pairs):
        rows["peer"].append(peer(lake))
        rows["etude"].append(etudes(lake))
        print(f"topn: {rows['peer'][-1]} {rows['etude'][-1]}", file=sys.stderr, flush=True)
    times = zip(rows["etude"], rows["peer"], strict=True)
    return {"times_as_fast": spread([p["whole_s"] / e["in_job_s"] for e, p in times]), "runs": rows}


def main(path: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, peer, pairs, size in (
        ("implicit", implicits, 2, (50_000, 385_000, 2_350_000)),
        ("mllib", mllibs, 1, (10_000, 50_000, 940_000)),
        ("full", implicits, 1, (1_020_000, 385_000, 48_000_000)),
    ):
        make(FOLDER / name, *size)
        found[name] = {"size": size, **compare(FOLDER / name, peer, pairs)}
        shutil.rmtree(FOLDER / name)
    save(path, {"machine": machine(), **found})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
