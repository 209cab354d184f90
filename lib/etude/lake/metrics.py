"""Describe the figures that a job reports for the `metrics` table."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """Hold one figure; what doesn't apply stays 0. The job adds run_id, job and protocol."""

    model: str
    slice: str
    metric: str
    value: float
    k: int = 0
    step: int = 0
    seed: int = 0
