"""Make the listening log of two nights, with faults whose number is known, and the arguments of jobs that read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

FIRST, SECOND = date(2026, 1, 29), date(2026, 1, 30)
HEAD = "user,track,at,n,title,artist\n"
COLUMNS = "listening.columns={user: user, track: track, played_at: at, play_count: n, title: title, artist: artist}"
SECRET = "-secret"
"""Part of each user id, and of nothing else."""
REJECTED = {
    FIRST: {"bad_timestamp": 1, "duplicate": 1, "negative_count": 1},
    SECOND: {"duplicate": 6, "empty_user": 1, "wrong_columns": 1},
}
"""What ingest refuses if the nights come in their order."""

EPOCHS = 12

_WMF = ("wmf.rank=4", "wmf.iterations=3")
_TRAIN = (
    *(
        f"train.epochs={EPOCHS}",
        "train.batch_size=2",
        "train.distribution=single",
        "train.reader=arrow",
        "train.threads=1",
    ),
    *("train.artist_size=4", "train.year_size=2", "train.tag_size=3", "train.mlp=[8,4]"),
)
_TOPN = ("topn.n=5", "evaluation.k=[3]")
_SETTINGS = {"ingest": (COLUMNS,), "wmf": _WMF, "train": _TRAIN, "topn": _TOPN}


def user(number: int) -> str:
    """Return a user id."""
    return f"listener-{number:02d}{SECRET}"


@dataclass(frozen=True)
class Nights:
    """Hold where the logs lie, and how many records each has."""

    landing: Path
    records: dict[date, int]

    def arguments(self, job: str, lake: Path, *more: str, night: date = SECOND) -> list[str]:
        """Return a job's arguments for a night; `more` goes last."""
        log = (f"listening.path={self.landing / '{batch_date}'}",) if job == "ingest" else ()
        return ["--batch-date", str(night), f"lake.root={lake}", *log, *_SETTINGS.get(job, ()), *more]

    def chain(self, lake: Path) -> list[list[str]]:
        """Return the jobs of the second night, each as its name and its arguments."""
        return [[job, *self.arguments(job, lake)] for job in ("ingest", "wmf", "train", "blend", "topn")]

    def headless(self, lake: Path) -> list[str]:
        """Return an ingest that fails: its log has no header, so a user's record stands where names are expected."""
        return [
            "ingest",
            "--run-id",
            "headless",
            f"lake.root={lake}",
            f"listening.path={self.landing / 'headless.csv'}",
        ]


def write_nights(landing: Path) -> Nights:
    """Write a log per night below `landing`."""
    nights = {
        FIRST: [
            *_plays(FIRST, range(20), range(24)),
            *[f"{user(0)},t99,{FIRST}T23:00:00Z,2,Ninety Nine,A"] * 2,
            f"{user(1)},t1,{FIRST}T12:00:00Z,-3,Title 1,A",
            f"{user(2)},t1,yesterday,1,Title 1,A",
            f"{user(2)},,{FIRST}T13:00:00Z,1,No Id,A",  # a track without an id is known by title and artist
        ],
        SECOND: [
            *_plays(SECOND, range(10, 30), range(12, 36)),
            f"{user(2)},t1,{SECOND}T10:00:00Z,1,Another Title,A",
            f",t1,{SECOND}T11:00:00Z,1,Title 1,A",
            f"{user(3)},t3,{SECOND}T12:00:00Z,1",
            *[f"{user(0)},t99,{FIRST}T23:00:00Z,2,Ninety Nine,A"] * 3,  # taken the night before
            *[f"{user(4)},t98,{SECOND}T23:00:00Z,1,Ninety Eight,B"] * 4,
        ],
    }
    for night, lines in nights.items():
        folder = landing / str(night)
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(HEAD + "\n".join(lines) + "\n")
    (landing / "headless.csv").write_text(f"{user(7)},t1,wonderwall\n")
    return Nights(landing, {night: len(lines) for night, lines in nights.items()})


def _plays(night: date, users: range, tracks: range) -> list[str]:
    random = np.random.default_rng(night.day)
    return [
        f"{user(u)},t{t},{night}T{u % 24:02d}:{t:02d}:00Z,{1 + u % 3},Title {t},Artist {t % 5}"
        for u in users
        for t in tracks
        if random.random() < 0.4
    ]
