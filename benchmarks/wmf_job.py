"""Compare the job wmf, table to table, with a script that reads the same Delta table, fits by implicit, and writes.

    python benchmarks/wmf_job.py build/bench/wmf_job.json

Both have rank 100, 15 iterations, and as many threads as the machine has cores; they run in turn. MLlib runs once, at
the smaller size. `session_s` is the start of Python, Java and Spark; `in_job_s` is all else. One more run of the job
starts without compiled kernels, as the first one on a machine does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from _measured import Measured, machine, run, save
from deltalake import DeltaTable

from etude.lake.small import library
from etude.lake.tables import TABLES

FOLDER = Path("build/bench/wmf_job")
RANK, ITERATIONS = 100, 15
CORES = len(os.sched_getaffinity(0))
SIZES = {"1M": (10_000, 50_000, 940_000, 5), "10M": (200_000, 100_000, 10_000_000, 3)}
_SWEEPS = re.compile(r"engine=barrier ranks=(\d+) seconds=([\d.]+) (.*)")


def make_lake(root: Path, users: int, tracks: int, interactions: int) -> None:
    """Write a lake with interactions of power-law popularity, and what else wmf reads."""
    rng = np.random.default_rng(0)
    of_users, of_tracks = np.exp(rng.standard_normal(users)), 1 / np.arange(1, tracks + 1) ** 0.8
    pairs = np.empty(0, np.int64)
    while len(pairs) < interactions:
        drawn = int(1.3 * (interactions - len(pairs))) + 1000
        user = rng.choice(users, drawn, p=of_users / of_users.sum()).astype(np.int64)
        pairs = np.unique(np.append(pairs, user * tracks + rng.choice(tracks, drawn, p=of_tracks / of_tracks.sum())))
    pairs = np.sort(rng.permutation(pairs)[:interactions])
    user, track = np.divmod(pairs, tracks)
    count = rng.geometric(0.4, len(pairs))
    nothing = pa.nulls(len(pairs), pa.timestamp("us", "UTC"))
    put(root, "interactions", user_idx=user, track_idx=rng.permutation(tracks)[track], play_count=count,
        first_played_at=nothing, last_played_at=nothing)  # fmt: skip
    for table, side, n in (("users", "user", users), ("tracks", "track", tracks)):
        put(root, table, **{f"{side}_id": [f"{side}{k}" for k in range(n)], f"{side}_idx": np.arange(n)})
    put(root, "plays", event_id=["1"], user_id=["user1"], track_id=["track1"], play_count=[1])


def put(root: Path, name: str, **columns: Any) -> None:
    """Write a table; columns not given are null or empty."""
    spec = TABLES[name]
    n = len(next(iter(columns.values())))
    from pyspark.sql.pandas.types import to_arrow_schema

    schema = to_arrow_schema(spec.schema)
    empty = {"string": "", "date": date(2026, 1, 31), "timestamp": datetime(2026, 1, 31, tzinfo=timezone.utc)}

    def column(field: pa.Field) -> pa.Array:
        if field.name in columns:
            return pa.array(columns[field.name]).cast(field.type)
        kind = next(column.type for column in spec.columns if column.name == field.name)
        value = None if field.nullable else [] if kind.startswith(("array", "map")) else empty.get(kind, 0)
        return pa.array([value] * n, field.type)

    tables = library(str(root), None, None)
    tables.create(spec)
    tables.replace(spec, pa.table([column(field) for field in schema], schema), {})


def etudes(lake: Path, engine: str, slots: int = CORES, kernels: Path | None = None) -> tuple[Measured, dict[str, Any]]:
    """Run the job, with its compiled kernels in a folder; return what it took, and the times in its log."""
    there = [] if kernels is None else ["env", f"NUMBA_CACHE_DIR={kernels.resolve()}"]
    settings = [f"lake.root={lake}", f"wmf.rank={RANK}", f"wmf.iterations={ITERATIONS}", f"wmf.engine={engine}"]
    measured = run(
        [*there, "spark-submit", "--master", f"local[{slots}]", "--driver-memory", "4g", "jobs/wmf.py", *settings,
         "evaluation.protocol=none", "--run-id", "bench", "--batch-date", "2026-01-31"], FOLDER / "wmf.log",
    )  # fmt: skip
    in_job = json.loads(measured.last_line)["seconds"]
    told = {"in_job_s": in_job, "session_s": measured.wall_s - in_job}
    found = _SWEEPS.search(measured.output)
    if found:
        told |= {"barrier_s": float(found[2]), "barrier": found[3]}
    return measured, told


def implicits(lake: Path) -> tuple[Measured, dict[str, Any]]:
    script = [sys.executable, "benchmarks/_implicit_job.py", str(lake), str(FOLDER / "implicit")]
    measured = run([*script, str(RANK), str(ITERATIONS), str(CORES)], FOLDER / "implicit.log")
    return measured, json.loads(measured.last_line)


def losses(lake: Path) -> dict[str, float]:
    """Return the loss of both fits; tracks and users without interactions count for nothing."""
    from etude.factors.blocks import Block
    from etude.factors.objective import gram, penalty, total_loss
    from etude.factors.solve import played_cells

    columns = ["user_idx", "track_idx", "play_count"]
    user, track, plays = (c.to_numpy() for c in read(lake / "interactions", columns).sort_by("user_idx").columns)
    weights = np.log1p(plays).astype(np.float32)
    found = {}
    for name, root in (("etude", lake), ("implicit", FOLDER / "implicit")):
        sides = []
        for side, n in (("user", user.max() + 1), ("track", track.max() + 1)):
            rows = read(root / f"{side}_factors", [f"{side}_idx", "factors"])
            values = np.zeros((n, RANK), np.float32)
            factors = rows["factors"].combine_chunks() if rows.num_rows * RANK < 2**31 else rows["factors"]
            values[rows[f"{side}_idx"].to_numpy()] = factors.flatten().to_numpy().reshape(-1, RANK)
            sides.append(values)
        ends = np.searchsorted(user, np.arange(len(sides[0]) + 1)).astype(np.int64)
        played = played_cells(Block(0, 0, ends, track.astype(np.int32), weights), sides[1], sides[0])
        penalties = sum(penalty(values, np.full(len(values), 10.0)) for values in sides)
        found[name] = total_loss(played, gram(sides[0]), gram(sides[1]), penalties)
    return found


def read(table: Path, columns: list[str]) -> pa.Table:
    return ds.dataset(DeltaTable(str(table)).file_uris()).to_table(columns=columns)


def compare(name: str, users: int, tracks: int, interactions: int, pairs: int) -> dict[str, Any]:
    """Run both in turn at one size."""
    lake = FOLDER / name
    shutil.rmtree(lake, ignore_errors=True)
    make_lake(lake, users, tracks, interactions)
    rows: dict[str, list[dict[str, Any]]] = {"etude": [], "implicit": []}
    for pair in range(pairs):
        for who in ("implicit", "etude"):
            measured, told = implicits(lake) if who == "implicit" else etudes(lake, "auto")
            rows[who].append({**measured.figures(), **told})
            print(f"wmf_job: {name} pair {pair + 1} {who} {rows[who][-1]}", file=sys.stderr, flush=True)
    theirs = [row["wall_s"] for row in rows["implicit"]]
    loss = losses(lake)
    alone, told = etudes(lake, "auto", 1)
    one_slot = {**alone.figures(), **told}
    both = statistics.median(sweeps(row) for row in rows["etude"])
    shutil.rmtree(lake / "user_factors")
    return {
        "size": {"users": users, "tracks": tracks, "interactions": interactions},
        "job_ratio": spread([e["wall_s"] / i for e, i in zip(rows["etude"], theirs, strict=True)]),
        "job_ratio_without_session": spread([e["in_job_s"] / i for e, i in zip(rows["etude"], theirs, strict=True)]),
        "sweeps_ratio": spread([sweeps(e) / i["fit_s"] for e, i in zip(rows["etude"], rows["implicit"], strict=True)]),
        "loss_ratio": loss["etude"] / loss["implicit"],
        "one_slot": one_slot,
        "slots_gain": sweeps(one_slot) / both,
        "runs": rows,
    }


def sweeps(row: dict[str, Any]) -> float:
    """Return the seconds of the slower rank's sweeps: solving, waiting, turning, sending."""
    kinds = dict(re.findall(r"(\w+)_s=[\d.]+\.\.([\d.]+)", row["barrier"]))
    return sum(float(kinds[kind]) for kind in ("solving", "turning", "sending"))


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def main(path: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {name: compare(name, *size) for name, size in SIZES.items()}
    once = FOLDER / "once"
    make_lake(once, *SIZES["1M"][:3])
    first, first_told = etudes(once, "auto", kernels=FOLDER / "kernels")
    mllib, told = etudes(once, "mllib")
    rest = {"first_1M": {"wall_s": first.wall_s, **first_told}, "mllib_1M": {"wall_s": mllib.wall_s, **told}}
    save(path, {"machine": machine(), "sizes": found, **rest})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
