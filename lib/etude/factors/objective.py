"""The objective of Hu, Koren & Volinsky (2008), in one place for every engine.

    L = sum over all users u and tracks i of c_ui (p_ui - x_u . y_i)^2 + sum_u l_u |x_u|^2 + sum_i l_i |y_i|^2

with p = 1 where u played i and 0 elsewhere, and for r plays c = 1 + alpha r (linear) or 1 + alpha log(1 + r / epsilon)
(log), so c = 1 where there are none. l is `wmf.regularization` for every row, or that times the row's number of
interactions (`regularization_scaling=frequency`, MLlib's convention).

The sum over all cells needs no dense matrix: with G = X'X and H = Y'Y the cells without plays and those with add up to
sum(G * H) (elementwise) + sum over played cells of c (1 - s)^2 - s^2, where s = x_u . y_i.
"""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings

_GRAM_ROWS = 65_536


def extra_confidence(play_count: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Extra confidence c - 1 of played cells: float32, same shape as the play counts."""
    return (settings.alpha * _rating(play_count.astype(np.float64), settings)).astype(np.float32)


def _rating(play_count: np.ndarray, settings: WmfSettings) -> np.ndarray:
    return play_count if settings.confidence == "linear" else np.log1p(play_count / settings.epsilon)


def rating(play_count: Column, settings: WmfSettings) -> Column:
    """(c - 1) / alpha as a float column: what MLlib multiplies by its own alpha."""
    by_law = play_count if settings.confidence == "linear" else F.log1p(play_count / F.lit(settings.epsilon))
    return by_law.cast("float")


def row_regularization(counts: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """The l of each row, from its number of interactions: (n,) float64."""
    if settings.regularization_scaling == "frequency":
        return settings.regularization * counts.astype(np.float64)
    return np.full(len(counts), settings.regularization, dtype=np.float64)


def gram(factors: np.ndarray) -> np.ndarray:
    """F'F summed in float64: (rank, rank)."""
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for first in range(0, len(factors), _GRAM_ROWS):  # in pieces: the copies in float64 stay small
        exact = factors[first : first + _GRAM_ROWS].astype(np.float64)
        total += exact.T @ exact
    return total


def penalty(factors: np.ndarray, regularization: np.ndarray) -> float:
    """Sum over rows of l |f|^2."""
    return float(regularization @ np.einsum("nk,nk->n", factors, factors, dtype=np.float64))


def total_loss(played_cells: float, user_gram: np.ndarray, track_gram: np.ndarray, penalties: float) -> float:
    """L from its parts; `played_cells` is the sum of c (1 - s)^2 - s^2 over played cells."""
    return played_cells + float(np.sum(user_gram * track_gram)) + penalties
