"""Define the report's facts: small plain values gathered from the lake, without Spark objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from etude.lake.runs import Run

Chain = dict[str, Run]
"""The runs behind one result: job -> run."""


@dataclass(frozen=True)
class Figure:
    """Hold one row of `metrics`, without the columns that are constant in a chain."""

    job: str
    model: str
    slice: str
    metric: str
    value: float
    k: int = 0
    step: int = 0
    seed: int = 0


class Figures:
    """Look up the figures of one chain of runs; figures of several seeds are averaged."""

    def __init__(self, rows: Iterable[Figure], protocol: str):
        """Hold figures measured under `protocol`."""
        self.rows = tuple(rows)
        self.protocol = protocol

    def value(self, model: str, slice_: str, metric: str, k: int = 0) -> float | None:
        """Return the figure, or None if it wasn't measured."""
        found = [
            row.value
            for row in self.rows
            if (row.model, row.slice, row.metric, row.k, row.step) == (model, slice_, metric, k, 0)
        ]
        return float(np.mean(found)) if found else None

    def curve(self, job: str, slice_: str, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) in order of step."""
        points: dict[int, list[float]] = {}
        for row in self.rows:
            if (row.job, row.slice, row.metric) == (job, slice_, metric) and (row.step > 0 or metric == "loss"):
                points.setdefault(row.step, []).append(row.value)
        return [(step, float(np.mean(values))) for step, values in sorted(points.items())]

    def over_k(self, model: str, slice_: str, metric: str) -> list[tuple[int, float]]:
        """Return (k, value) in order of k."""
        cuts = {row.k for row in self.rows if (row.model, row.slice, row.metric) == (model, slice_, metric) and row.k}
        return [(k, value) for k in sorted(cuts) if (value := self.value(model, slice_, metric, k)) is not None]

    def models(self, job: str, slice_: str, metrics: Sequence[str]) -> list[str]:
        """Return the models with at least one of the metrics on the slice, in order of appearance."""
        wanted = (r for r in self.rows if r.job == job and r.slice == slice_ and r.metric in metrics)
        return list(dict.fromkeys(row.model for row in wanted))

    def cuts(self) -> list[int]:
        """Return every k at which a ranking was measured."""
        return sorted({row.k for row in self.rows if row.k})


@dataclass(frozen=True)
class Rejected:
    """Count the inputs rejected for one reason."""

    job: str
    source: str
    reason: str
    rows: int
    example: str | None = None


@dataclass(frozen=True)
class Listening:
    """Count plays, users, tracks and interactions in the lake."""

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
    """Count the tracks that have each kind of content."""

    tracks: int
    titled: int
    with_artist: int
    with_year: int
    with_tags: int
    with_audio: int


@dataclass(frozen=True)
class Trial:
    """Hold settings of wmf that a search tried, and the value by which it judged them."""

    rank: int
    confidence: str
    alpha: float
    regularization: float
    value: float
    as_given: bool


@dataclass(frozen=True)
class Search:
    """Hold the trials of a search of settings, by ascending rank and descending value."""

    run_id: str
    metric: str
    k: int
    trials: tuple[Trial, ...]

    def best(self) -> Trial:
        """Return the best trial of the largest rank."""
        return max(self.trials, key=lambda trial: (trial.rank, trial.value))

    def given(self) -> Trial | None:
        """Return the trial of the largest rank with the settings as given."""
        return max((trial for trial in self.trials if trial.as_given), key=lambda trial: trial.rank, default=None)


@dataclass(frozen=True)
class Mel:
    """Hold one mel spectrogram: `db` is n_mels x n_frames."""

    track_id: str
    title: str | None
    artist_name: str | None
    db: np.ndarray
    sample_rate: int
    offset_s: float
    hop_length: int


@dataclass(frozen=True)
class Line:
    """Describe one line of a list: a recommended track, or a track that the user played."""

    title: str | None
    artist_name: str | None
    track_id: str
    source: str
    number: float
    """Score of a recommendation; number of plays of a played track."""


@dataclass(frozen=True)
class Sample:
    """Hold one user's list and the user's most played tracks."""

    user_idx: int
    tracks_played: int
    played: tuple[Line, ...]
    recommended: tuple[Line, ...]


@dataclass(frozen=True)
class Lists:
    """Count all lists of one topn run."""

    users: int
    rows: int
    by_source: dict[str, int]
    distinct_tracks: int


@dataclass(frozen=True)
class Facts:
    """Collect all facts on the page."""

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
    search: Search | None = None
