"""Name the places where jobs are killed, each job in a lake of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from killing import Job
from nights import EPOCHS, FIRST, SECOND, Nights

from etude import storage
from etude.fusion import checkpoint
from etude.lake import Lake, folders, ledger, releases

AGAIN = "again"
UMASK = 0o027
"""Under which the jobs run again."""
POINTS = ("users", "files", "wmf", "train", "topn")
"""ingest after it wrote users, and after it wrote all but the files that it took; the others at one point each."""


@dataclass(frozen=True)
class Kills:
    """Hold the killed jobs, and the folder that all of them had for temporary files."""

    jobs: dict[str, Job]
    temporary: Path
    litter: dict[str, list[str]]
    """Names in that folder after each kill."""


def to_kill(alone: Path, both: Path, nights: Nights, folder: Path) -> dict[str, Job]:
    """Return the jobs by point.

    Args:
        alone: a lake with the second night alone.
        both: a lake with both nights and their lists.
        nights: the logs and arguments.
        folder: place of the jobs' lakes.
    """
    roots = {point: folder / point / "lake" for point in POINTS}
    for point, root in roots.items():
        shutil.copytree(alone if point in ("users", "files") else both, root)
    lake = Lake(str(roots["users"]))
    counted, version = lake.count("users"), lake.version("plays")
    return {
        "users": _ingest(
            *(roots["users"], nights),
            reached=lambda lake: lake.count("users") > counted,
            too_late=lambda lake: lake.version("plays") != version,
        ),
        # Times too short to hit: the job stops there.
        "files": _ingest(
            *(roots["files"], nights),
            pause="etude.listening.batch:file_rows",
            too_late=lambda lake: ledger.graph(lake).succeeded("ingest", str(FIRST)) is not None,
        ),
        # Without the profile of a small session, so that one of the jobs writes by Spark.
        "wmf": _of_night(
            *("wmf", roots["wmf"], nights, "spark.small_input_mb=0"),
            reached=lambda lake: lake.count("splits", run_id=AGAIN) > 0,
            too_late=lambda lake: lake.count("track_factors", run_id=AGAIN) > 0,
        ),
        "train": _of_night(
            *("train", roots["train"], nights),
            reached=lambda lake: storage.exists(last_epoch(lake)),
            too_late=lambda lake: checkpoint.read(last_epoch(lake)).epoch == EPOCHS,
            resume=("--resume",),
        ),
        "topn": _of_night(
            *("topn", roots["topn"], nights),
            pause="etude.lake.releases:publishing",
            too_late=lambda lake: len(releases.releases(lake)) > 1,
        ),
    }


def _ingest(root: Path, nights: Nights, **when) -> Job:
    """The first night as a backfill: rows of both nights change."""
    return Job("ingest", root, nights.arguments("ingest", root, night=FIRST), str(FIRST), "ingest", **when)


def _of_night(job: str, root: Path, nights: Nights, *more: str, **when) -> Job:
    """A job of the second night under another run id, in a lake that has both nights and their lists."""
    arguments = nights.arguments(job, root, "--run-id", AGAIN, *more)
    return Job(job, root, arguments, AGAIN, f"{SECOND}.none.{job}", **when)


def last_epoch(lake: Lake) -> str:
    """Return the place of the last checkpoint of the killed training."""
    return checkpoint.last_uri(folders.checkpoints(lake.root, "train", AGAIN))
