"""A small lake with every table, two finished chains of runs and a failed one; written without Spark, in a second."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from etude.config import Settings, redacted
from etude.lake import Lake
from etude.lake.schema import Column
from etude.lake.tables import TABLES

DAY = date(2026, 1, 31)
START = datetime(2026, 1, 31, 3, 0, tzinfo=timezone.utc)
USERS = ("ann", "bob", "cyd", "dee", "eli", "fay")
TRACKS = 12
COLD = (10, 11)
SERVED = ("splits", "user_factors", "track_factors", "examples", "predicted_factors", "recommendations")
N_MELS, N_FRAMES = 16, 12
_SECONDS = {"ingest": 20, "wmf": 30, "mel": 45, "train": 90, "topn": 15}
_READ = {
    "ingest": (),
    "wmf": ("interactions",),
    "mel": ("tracks",),
    "train": ("tracks", "track_factors", "splits", "mel"),
    "topn": ("user_factors", "track_factors", "predicted_factors", "interactions"),
}
_WROTE = {
    "ingest": ("plays", "rejects", "tracks", "users", "interactions"),
    "wmf": ("splits", "user_factors", "track_factors", "metrics"),
    "mel": ("mel", "rejects"),
    "train": ("predicted_factors", "metrics"),
    "topn": ("recommendations", "metrics"),
}


def build(root: Path) -> Path:
    """Write the lake below `root` and return it."""
    lake = Lake(str(root))
    for name, rows in tables().items():
        fill(lake, name, rows, COLUMNS.get(name))
    fill(lake, "runs", [*_runs(lake, "eval", "strict", 0), *_runs(lake, "prod", "none", 1), _failed()], COLUMNS["runs"])
    return root


def fill(lake: Lake, table: str, rows: Iterable[Sequence[Any]], columns: Sequence[str] | None = None) -> None:
    """Replace a table without Spark, as jobs write one: with partitions and constraints.

    A row holds values of `columns`, of all columns if none are named. Other columns become null, or empty.
    """
    spec = TABLES[table]
    empty = {column.name: _empty(column) for column in spec.columns}
    names = columns or spec.column_names
    lake.replace(table, [empty | dict(zip(names, row, strict=True)) for row in rows])


def _empty(column: Column) -> Any:
    if column.nullable:
        return None
    if column.type.startswith(("array<", "map<")):
        return {} if column.type.startswith("map<") else []
    return {"string": "", "date": DAY, "timestamp": START}.get(column.type, 0)


_PLAYS = "event_id user_id track_id played_at play_count source batch_date counted_on file record"
_TRACKS = "track_id title artist_id artist_name release_year tags tag_weights audio_uri track_idx origins"
_REJECTS = "job source locator raw reason detail batch_date"
_RUNS = (
    "run_id job batch_date protocol settings inputs outputs upstream row_counts started_at ended_at status error "
    "attempt earlier_errors package_version fingerprints"
)
COLUMNS = {
    name: columns.split()
    for name, columns in {"plays": _PLAYS, "tracks": _TRACKS, "rejects": _REJECTS, "runs": _RUNS}.items()
}
"""Columns that the rows below give, where they leave some out."""


def tables() -> dict[str, list[tuple]]:
    """Rows of each table but `runs`, in the order of its columns."""
    heard = [
        (user, track) for user in range(len(USERS)) for track in range(10) if (user * 7 + track * 3) % 5 < user % 4 + 1
    ]
    return {
        "users": [(name, index) for index, name in enumerate(USERS)],
        "tracks": [_track(index) for index in range(TRACKS)],
        "plays": [
            (f"e{u}-{t}", USERS[u], f"T{t:02d}", START - timedelta(days=t), 1 + t, "small", DAY, DAY, "log.csv", u)
            for u, t in heard
        ],
        "interactions": [(u, t, 1 + t, START - timedelta(days=t), START - timedelta(days=t)) for u, t in heard],
        "rejects": [
            ("ingest", "small", "log.csv#1", "x,y", "bad_timestamp", "not a time: y", DAY),
            ("ingest", "small", "log.csv#2", "x", "duplicate", None, DAY),
            ("ingest", "small", "log.csv#3", "x", "duplicate", None, DAY),
            ("mel", "tracks", "T03#0", "a/t3.ogg", "too_short", "2.1 s", DAY),
        ],
        "splits": [("eval", "track", t, -1, "test" if t in COLD else "train") for t in range(TRACKS)],
        "user_factors": [(r, u, _factors(u), "fit") for r in ("eval", "prod") for u in range(len(USERS) - 1)],
        "track_factors": [(r, t, _factors(t), "fit") for r in ("eval", "prod") for t in range(10)],
        "predicted_factors": [(r, t, *[_factors(t)] * 3, r) for r in ("eval", "prod") for t in range(TRACKS)],
        "mel": [*(_mel(t) for t in (0, 3, 10)), _mel(0, crop=1), _mel(6, settings="of another recipe")],
        "recommendations": [_place(r, u, p) for r in ("eval", "prod") for u in range(len(USERS)) for p in range(1, 5)],
        "metrics": _metrics(),
        "releases": [(1, dict.fromkeys(SERVED, "prod"), "topn prod", None, START, "topn run prod succeeded")],
    }


def _track(index: int) -> tuple:
    known = index != 7
    return (
        f"T{index:02d}",
        f"Study no. {index}" if known else None,
        f"A{index % 3}" if known else None,
        ("Ada", "Bea", "Cleo")[index % 3] if known else None,
        1990 + index if index % 2 else None,
        ["piano"] if index % 2 else [],
        [1.0] if index % 2 else [],
        f"file:///audio/t{index}.ogg" if index % 3 == 0 else None,
        index,
        {"title": "small", "artist_id": "small", "artist_name": "small"} if known else {},
    )


def _factors(index: int) -> list[float]:
    return [float(np.sin(index + d)) for d in range(4)]


def _place(run: str, user: int, position: int) -> tuple:
    if user == len(USERS) - 1:
        return (run, user, position, f"T{position:02d}", 0.1 / position, "popularity")
    track = COLD[0] if position == 2 else (user + position) % 10
    return (run, user, position, f"T{track:02d}", 1.0 / position, "cold" if track in COLD else "warm")


def _mel(index: int, crop: int = 0, settings: str = Settings().mel.settings_sha256) -> tuple:
    db = [-60.0 + 40 * float(np.sin(i / 7 + index)) for i in range(N_MELS * N_FRAMES)]
    uri = f"file:///audio/t{index}.ogg"
    return (f"T{index:02d}", crop, settings, db, N_MELS, N_FRAMES, 8000, 1.5, 30.0, uri, 1000, START, "c")


def _metrics() -> list[tuple]:
    rows = []
    for run, protocol in (("eval", "strict"), ("prod", "none")):
        rows += [(run, "wmf", "blocked", protocol, "train", "loss", 0, i, 1, 100.0 / i + 50) for i in range(1, 6)]
        for slice_ in ("train", "validation"):
            rows += [
                (run, "train", "fusion", protocol, slice_, "loss", 0, e, 1, 1.0 / e + 0.1 * (e > 3))
                for e in range(1, 6)
            ]
    for name, value in (("mse", 0.02), ("rmse", 0.14), ("mae", 0.1), ("msle", 0.01), ("msle_left_out", 0.004)):
        rows.append(("eval", "train", "fusion", "strict", "test", name, 0, 0, 1, value))
    for model, scale in (("random", 0.01), ("popularity", 0.05), ("fusion", 0.2), ("true_factors", 0.3)):
        for slice_ in ("all", "warm", "cold"):
            for k in (5, 20):
                rows.append(("eval", "topn", model, "strict", slice_, "recall", k, 0, 0, scale * k / 20))
            rows.append(("eval", "topn", model, "strict", slice_, "auc", 0, 0, 0, 0.5 + scale))
    return rows


def _settings(protocol: str) -> str:
    raw: dict[str, Any] = Settings().model_dump()
    raw["evaluation"]["protocol"] = protocol
    raw["wmf"]["rank"] = 4
    raw["listening"]["path"] = "landing/log.csv"
    return json.dumps(redacted(Settings.model_validate(raw)))


def _runs(lake: Lake, run: str, protocol: str, hour: int) -> list[tuple]:
    rows = []
    started = START + timedelta(hours=hour)
    for job, seconds in _SECONDS.items():
        upstream = {"train": {"wmf": [run]}, "topn": {"wmf": [run], "train": [run]}}.get(job, {})
        ended = started + timedelta(seconds=seconds)
        read, wrote = ({table: lake.version(table) for table in names[job]} for names in (_READ, _WROTE))
        rows.append(
            (
                run, job, DAY, protocol, _settings(protocol), read, wrote, upstream,
                {"rows_in": 100, "rows_out": 90}, started, ended, "succeeded", None, 1, [], "0.1.0",
                {"audio.root": 4_611_686_018_427_387_904} if job == "mel" else {},
            )
        )  # fmt: skip
        started = ended
    return rows


def _failed() -> tuple:
    started = START + timedelta(hours=2)
    return (
        "night-2", "ingest", DAY + timedelta(days=1), "none", _settings("none"), {}, {}, {}, {}, started,
        started + timedelta(seconds=9), "failed", "landing/log.csv: no such file", 2, ["killed"], "0.1.0", {},
    )  # fmt: skip
