"""Search for settings of wmf: draw points, make their steps, keep the best, write them as a layer of settings.

The search follows what Rendle et al. found (2021, "Revisiting the performance of iALS on item recommendation
benchmarks"): confidence and regularization matter more than anything else, and what is best at a small rank is nearly
so at a large one. So many points are tried with a small rank, and the best of them with a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import yaml

from etude.arguments import Arguments
from etude.config.tune import OF_TRIALS, TuneSettings
from etude.config.wmf import WmfSettings
from etude.errors import InputMissingError
from etude.pipeline import Step


@dataclass(frozen=True)
class Point:
    """Hold settings of wmf that are tried."""

    confidence: str
    alpha: float
    regularization: float

    def run_id(self, parent: str, number: int, rank: int) -> str:
        """Return the run_id of the runs that try it with a rank, as the point of that number."""
        return f"{parent}-{number}-rank{rank}"


def points(given: WmfSettings, tune: TuneSettings) -> list[Point]:
    """Return the points: the settings as given, and random ones; the logarithms of their numbers are even."""
    rng = np.random.default_rng(tune.seed)
    found = [Point(given.confidence, given.alpha, given.regularization)]
    for _ in range(tune.points - 1):
        confidence = tune.confidence[int(rng.integers(len(tune.confidence)))]
        alpha, regularization = (_between(rng, *limits) for limits in (tune.alpha, tune.regularization))
        found.append(Point(confidence, alpha, regularization))
    return found


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number evenly by its logarithm, with three digits."""
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def best(values: Mapping[int, float], share: float) -> list[int]:
    """Return the numbers of the best points, the best first: `share` of them, rounded up; ties by number."""
    ordered = sorted(values, key=lambda number: (-values[number], number))
    return ordered[: math.ceil(share * len(ordered))]


def steps_of(point: Point, number: int, rank: int, arguments: Arguments) -> list[Step]:
    """Return the steps that try a point: a factorisation under strict, and lists measured by validation plays."""
    tune = arguments.settings.tune
    run_id = point.run_id(arguments.run_id, number, rank)
    changed: dict[str, dict[str, Any]] = {
        "wmf": {**asdict(point), "rank": rank, "mode": "fit"},
        "evaluation": {
            "protocol": "strict",
            "measured_split": "validation",
            "k": (tune.k,),
            "neighbour_tracks": 0,
            "per_user": False,
        },
        "topn": {"factors": "separate", "n": tune.k},
        "inputs": {"wmf_run_id": run_id, "train_run_id": None, "blend_run_id": None},
    }
    of_trial = arguments.changed(run_id, **changed)
    return [Step(stage, of_trial) for stage in ("wmf", "topn")]


def value_of(rows: Sequence[Mapping[str, Any]], tune: TuneSettings) -> float:
    """Return the value by which a trial is judged, from its rows of `metrics`.

    Raises:
        InputMissingError: it wasn't measured: no user has validation plays of warm tracks.
    """
    wanted = {**OF_TRIALS, "metric": tune.metric, "k": tune.k}
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            return float(row["value"])
    raise InputMissingError(
        f"no {tune.metric}@{tune.k}: no user has validation plays of warm tracks; expected users with several tracks, "
        "and evaluation.validation_plays > 0"
    )


def layer(point: Point, rank: int, said: str) -> str:
    """Return the settings found as YAML, a layer for --config, with a comment that says what they are."""
    comment = "".join(f"# {line}\n" for line in said.splitlines())
    return comment + yaml.safe_dump({"wmf": {"rank": rank, **asdict(point)}}, sort_keys=False)
