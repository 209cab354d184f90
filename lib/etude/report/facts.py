"""What the report is made of: small plain facts, gathered from the lake, with nothing of Spark left in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from etude.lake.runs import Run

Chain = dict[str, Run]
"""The runs that led to one result: job -> run."""


@dataclass(frozen=True)
class Figure:
    """One row of `metrics`, without what is the same for all of a chain."""

    job: str
    model: str
    slice: str
    metric: str
    value: float
    k: int = 0
    step: int = 0
    seed: int = 0


class Figures:
    """The figures of one chain of runs, to look up; over several seeds the mean counts."""

    def __init__(self, rows: Iterable[Figure], protocol: str):
        """`protocol` is the one under which they were measured."""
        self.rows = tuple(rows)
        self.protocol = protocol

    def value(self, model: str, slice_: str, metric: str, k: int = 0) -> float | None:
        """The figure, or None where it wasn't measured."""
        found = [
            row.value
            for row in self.rows
            if (row.model, row.slice, row.metric, row.k, row.step) == (model, slice_, metric, k, 0)
        ]
        return float(np.mean(found)) if found else None

    def curve(self, job: str, slice_: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) in order of step."""
        points: dict[int, list[float]] = {}
        for row in self.rows:
            if (row.job, row.slice, row.metric) == (job, slice_, metric) and (row.step > 0 or metric == "loss"):
                points.setdefault(row.step, []).append(row.value)
        return [(step, float(np.mean(values))) for step, values in sorted(points.items())]

    def over_k(self, model: str, slice_: str, metric: str) -> list[tuple[int, float]]:
        """(k, value) in order of k."""
        cuts = {row.k for row in self.rows if (row.model, row.slice, row.metric) == (model, slice_, metric) and row.k}
        return [(k, value) for k in sorted(cuts) if (value := self.value(model, slice_, metric, k)) is not None]

    def models(self, job: str, slice_: str, metrics: Sequence[str]) -> list[str]:
        """Models with at least one of the metrics on the slice, in order of appearance."""
        wanted = (r for r in self.rows if r.job == job and r.slice == slice_ and r.metric in metrics)
        return list(dict.fromkeys(row.model for row in wanted))

    def cuts(self) -> list[int]:
        """Every k at which a ranking was measured."""
        return sorted({row.k for row in self.rows if row.k})


@dataclass(frozen=True)
class Rejected:
    """How many inputs were refused for one reason."""

    job: str
    source: str
    reason: str
    rows: int
    example: str | None = None


@dataclass(frozen=True)
class Listening:
    """What the lake holds of plays, users and tracks."""

    rows: int
    plays: int
    users: int
    tracks: int
    batches: int
    sources: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    interactions: int
    interacting_users: int
    interacting_tracks: int
    rejects: tuple[Rejected, ...]


@dataclass(frozen=True)
class Catalogue:
    """How much is known of the tracks."""

    tracks: int
    titled: int
    with_artist: int
    with_year: int
    with_tags: int
    with_audio: int


@dataclass(frozen=True)
class Mel:
    """One mel spectrogram: `db` is n_mels x n_frames."""

    track_id: str
    title: str | None
    artist_name: str | None
    db: np.ndarray
    sample_rate: int
    offset_s: float
    hop_length: int


@dataclass(frozen=True)
class Line:
    """One line of a list: a recommended track, or one the user played."""

    title: str | None
    artist_name: str | None
    track_id: str
    source: str
    number: float
    """score of a recommendation; number of plays of a played track"""


@dataclass(frozen=True)
class Sample:
    """One user's list beside what the user plays most."""

    user_idx: int
    tracks_played: int
    played: tuple[Line, ...]
    recommended: tuple[Line, ...]


@dataclass(frozen=True)
class Lists:
    """All lists of one topn run, counted."""

    users: int
    rows: int
    by_source: dict[str, int]
    distinct_tracks: int


@dataclass(frozen=True)
class Facts:
    """Everything on the page."""

    title: str
    note: str | None
    k: int
    lake: str
    written_at: datetime
    listening: Listening
    catalogue: Catalogue
    mel_rows: int
    mels: tuple[Mel, ...] = ()
    evaluation: Chain = field(default_factory=dict)
    evaluation_figures: Figures = field(default_factory=lambda: Figures((), "strict"))
    production: Chain = field(default_factory=dict)
    production_figures: Figures = field(default_factory=lambda: Figures((), "none"))
    lists: Lists | None = None
    samples: tuple[Sample, ...] = ()
