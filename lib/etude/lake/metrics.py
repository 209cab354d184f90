"""Figures that a job reports, on their way to the `metrics` table."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One figure; what doesn't apply stays 0. run_id, job and protocol are added by the job."""

    model: str
    slice: str
    metric: str
    value: float
    k: int = 0
    step: int = 0
    seed: int = 0
