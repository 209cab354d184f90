"""Define the settings of the search for settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from etude.config.base import Section

Positive = Annotated[float, Field(gt=0)]

OF_TRIALS = {"model": "wmf", "slice": "warm"}
"""Rows of `metrics` that judge trials: with separate factors and no content, the model that topn measures is wmf's."""


class TuneSettings(Section):
    """Configure the search for settings of wmf: random points, of which the best are tried again with larger ranks."""

    points: int = Field(16, ge=1, le=1000)
    """Number of points tried with the first rank. The first point has the settings as given."""
    ranks: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((32, 100), min_length=1)
    """Values of wmf.rank, ascending; the best points of each are tried with the next."""
    keep: float = Field(0.25, gt=0, le=1)
    """Share of the points that is tried with the next rank, rounded up."""
    confidence: tuple[Literal["linear", "log"], ...] = Field(("log", "linear"), min_length=1)
    """Values of wmf.confidence."""
    alpha: tuple[Positive, Positive] = (0.3, 40.0)
    """Least and largest wmf.alpha; points are drawn evenly by its logarithm."""
    regularization: tuple[Positive, Positive] = (1.0, 300.0)
    """Least and largest wmf.regularization; points are drawn evenly by its logarithm."""
    metric: Literal["ndcg", "recall", "map"] = "ndcg"
    """Metric by which points are compared, on validation plays of warm tracks."""
    k: int = Field(100, ge=1, le=10_000)
    """Length of the lists."""
    seed: int = Field(1, ge=0)
    """Seed of the points."""
    path: str | None = None
    """Path or URI of the settings found, a layer for --config; null means _reports/<run_id>.yaml in the lake."""

    @model_validator(mode="after")
    def _ascend(self) -> TuneSettings:
        for name in ("ranks", "alpha", "regularization"):
            values = getattr(self, name)
            if list(values) != sorted(values):
                raise ValueError(f"{name} {list(values)}: expected ascending values")
        return self
