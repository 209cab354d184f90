"""Hold the curves of Figure 3: losses and recall over epochs, per learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etude.comparison.contest import Judged
from etude.search.candidates import Pairs


@dataclass(frozen=True)
class Curve:
    """Hold the means over seeds of one learning rate, per epoch; empty if the loss was finite with no seed.

    Attributes:
        training: mean squared error of standardised factors in training.
        validation: the same on validation tracks.
        recall: recall on validation tracks.
        diverged: number of seeds with which the loss stopped being finite; these are not in the means.
        seeds: number of seeds.
    """

    training: tuple[float, ...]
    validation: tuple[float, ...]
    recall: tuple[float, ...]
    diverged: int
    seeds: int


def recall_at(judged: Judged, relevant: Pairs, k: int) -> float:
    """Return the mean over users of the share of their relevant tracks that are among the first k."""
    hits = np.bincount(relevant.rows, judged.hits(k))
    counts = np.bincount(relevant.rows)
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def curve_of(runs: Sequence[Mapping[str, Sequence[float]] | None]) -> Curve:
    """Return the means over seeds.

    Args:
        runs: per seed, training, validation and recall by epoch; None if the loss stopped being finite.
    """
    finite = [run for run in runs if run is not None]
    means = {
        name: tuple(np.mean([run[name] for run in finite], axis=0).tolist()) if finite else ()
        for name in ("training", "validation", "recall")
    }
    return Curve(**means, diverged=len(runs) - len(finite), seeds=len(runs))
