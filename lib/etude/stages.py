"""Register the stages: what is known of a job stands here once, and nowhere else.

From an entry follow the settings in `--help`, the pipeline's steps, the lease, the tables that a job may read and
write, the lineage, the views of what is served, and the tables of docs/tables.md and docs/stages.md. A new job is one
entry here and one file in jobs/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etude.lake.tables import TABLES


@dataclass(frozen=True)
class Stage:
    """Describe one job.

    Attributes:
        name: the name of the job and of its file in jobs/.
        does: what it does, in one line.
        sections: sections of the settings that it reads.
        reads: tables that it reads.
        writes: tables that it writes; a write to any other is refused.
        builds_on: stages whose run it chooses as upstream runs; its own name if it may extend an earlier run, or take
            what one has chosen.
        chooses: whether its runs under strict choose values that its runs under other protocols then take.
        lease: `batch` if runs of different batches or protocols may overlap, `lake` if only one may run at a time.
        shaped_by: sections whose settings shape its rows; None if a pipeline can't tell when it is up to date.
        not_shaped_by: settings of those sections that matter to other stages only, as section.key.
        step: how a pipeline runs it: `once`, once per `protocol`, last of all (`report`), or not at all (None).
        starts_trials: whether the runs that it starts are trials, on which no other run builds unless it names them.
        publishes: tables of which a release names this stage's run; the first stands for all that the run wrote.
    """

    name: str
    does: str
    sections: tuple[str, ...]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    builds_on: tuple[str, ...] = ()
    chooses: bool = False
    lease: Literal["batch", "lake"] = "batch"
    shaped_by: tuple[str, ...] | None = None
    not_shaped_by: tuple[str, ...] = ()
    step: Literal["once", "protocol", "report"] | None = None
    starts_trials: bool = False
    publishes: tuple[str, ...] = ()


_SESSION = ("lake", "spark")
_OF_LISTS = tuple(f"evaluation.{name}" for name in ("k", "measured_split", "per_user", "neighbour_tracks"))

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="ingest",
            does="cleans logs and catalogues, numbers users and tracks, sums plays into interactions",
            sections=(*_SESSION, "listening", "catalogue"),
            reads=("plays", "rejects", "ingested_files", "users", "tracks", "interactions"),
            writes=("plays", "rejects", "ingested_files", "users", "tracks", "interactions"),
            # Two at once would both give the next new user the same index.
            lease="lake",
            shaped_by=("listening", "catalogue"),
            step="once",
        ),
        Stage(
            name="mel",
            does="computes mel spectrograms of audio files",
            sections=(*_SESSION, "audio", "mel"),
            reads=("tracks", "mel", "rejects"),
            writes=("mel", "rejects"),
            lease="lake",
            # It looks at every audio file itself, and writes nothing if nothing changed.
            shaped_by=None,
            step="once",
        ),
        Stage(
            name="wmf",
            does="factorises interactions into user and track factors",
            sections=(*_SESSION, "inputs", "listening", "wmf", "evaluation"),
            reads=("plays", "interactions", "users", "tracks", "user_factors", "track_factors"),
            writes=("splits", "user_factors", "track_factors", "metrics"),
            builds_on=("wmf",),
            shaped_by=("wmf", "evaluation", "inputs", "listening"),
            not_shaped_by=_OF_LISTS,
            step="protocol",
            publishes=("track_factors", "user_factors", "splits"),
        ),
        Stage(
            name="train",
            does="trains the network and predicts factors of tracks from their content",
            sections=(*_SESSION, "inputs", "mel", "train", "evaluation"),
            reads=("track_factors", "splits", "tracks", "mel", "examples"),
            writes=("examples", "predicted_factors", "metrics"),
            builds_on=("wmf",),
            shaped_by=("train", "evaluation", "inputs", "mel"),
            not_shaped_by=_OF_LISTS,
            step="protocol",
            publishes=("predicted_factors", "examples"),
        ),
        Stage(
            name="blend",
            does="blends plays and content into one set of factors for every track",
            sections=(*_SESSION, "inputs", "blend", "evaluation"),
            reads=(
                *("plays", "interactions", "users", "tracks", "splits"),
                *("user_factors", "track_factors", "predicted_factors"),
            ),
            writes=("blended_track_factors", "metrics"),
            builds_on=("wmf", "train", "blend"),
            chooses=True,
            shaped_by=("blend", "evaluation", "inputs"),
            not_shaped_by=_OF_LISTS,
            step="protocol",
            publishes=("blended_track_factors",),
        ),
        Stage(
            name="topn",
            does="ranks tracks for every user, and measures the lists under an evaluation protocol",
            sections=(*_SESSION, "inputs", "evaluation", "topn"),
            reads=(
                *("splits", "tracks", "users", "interactions", "plays", "mel"),
                *("user_factors", "track_factors", "predicted_factors", "blended_track_factors"),
            ),
            writes=("recommendations", "repeats", "metrics", "user_metrics", "releases"),
            builds_on=("wmf", "train", "blend"),
            shaped_by=("topn", "evaluation", "inputs"),
            not_shaped_by=("topn.publish",),
            step="protocol",
            publishes=("recommendations", "repeats"),
        ),
        Stage(
            name="report",
            does="writes one HTML page about the lake and its newest runs",
            sections=(*_SESSION, "report"),
            reads=tuple(TABLES),
            shaped_by=("report",),
            step="report",
        ),
        Stage(
            name="pipeline",
            does="runs all stages in one session, and skips what is up to date",
            sections=(
                *(*_SESSION, "listening", "catalogue", "audio", "mel", "wmf", "evaluation", "train", "blend"),
                *("topn", "report", "pipeline"),
            ),
            reads=("tracks", "mel", "interactions", "recommendations"),
        ),
        Stage(
            name="compare",
            does="runs the paper's experiments: trains networks on one factorisation, judges them, writes a page",
            sections=(
                *(*_SESSION, "inputs", "listening", "catalogue", "audio", "mel", "wmf", "evaluation", "train"),
                *("report", "compare", "demo"),
            ),
            reads=(
                *("interactions", "tracks", "splits", "user_factors", "track_factors"),
                *("examples", "predicted_factors"),
            ),
            starts_trials=True,
        ),
        Stage(
            name="tune",
            does="chooses settings of wmf by the ranking of validation plays, and writes them as a layer of settings",
            sections=(*_SESSION, "inputs", "listening", "catalogue", "wmf", "evaluation", "topn", "tune"),
            reads=("metrics",),
            starts_trials=True,
        ),
    )
}
"""Name -> stage, in the order in which a pipeline runs them."""


def stage_of(name: str) -> Stage:
    """Return a stage by its name.

    Raises:
        LookupError: no stage has that name.
    """
    if name not in STAGES:
        raise LookupError(f"job {name!r} is not registered; the stages are {', '.join(STAGES)} (etude/stages.py)")
    return STAGES[name]


def steps() -> list[Stage]:
    """Return the stages that a pipeline runs, in their order."""
    return [stage for stage in STAGES.values() if stage.step is not None]


def makers() -> list[str]:
    """Return the names of the stages that write tables, in their order; the others only read."""
    return [stage.name for stage in STAGES.values() if stage.writes]


def writers(table: str) -> list[str]:
    """Return the names of the stages that write a table; every job writes `runs`."""
    return ["every job"] if table == "runs" else [stage.name for stage in STAGES.values() if table in stage.writes]


def only_maker(table: str) -> Stage | None:
    """Return the stage that alone makes a table's rows, one run after another; None if several do, or runs overlap."""
    stages = [stage for stage in STAGES.values() if table in stage.writes]
    return stages[0] if len(stages) == 1 and stages[0].lease == "lake" and not TABLES[table].has_runs else None


def publishers(table: str) -> list[Stage]:
    """Return the stages of which a release names the run for this table's rows.

    For a table that several stages share by the column `job`, these are all stages with something to publish.
    """
    direct = [stage for stage in STAGES.values() if table in stage.publishes]
    if direct or "job" not in TABLES[table].column_names:
        return direct
    return [stage for stage in STAGES.values() if stage.publishes]
