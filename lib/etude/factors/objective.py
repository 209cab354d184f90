"""Define the objective of Hu, Koren & Volinsky (2008) for every engine.

    L = sum over all users u and tracks i of c_ui (p_ui - x_u . y_i)^2 + sum_u l_u |x_u|^2 + sum_i l_i |y_i|^2

The preference p is 1 if u played i, otherwise 0. The confidence c for r plays is 1 + alpha r (linear) or
1 + alpha log(1 + r / epsilon) (log), so c = 1 without plays. l is `wmf.regularization` for every row, or its product
with the row's number of interactions (`regularization_scaling=frequency`, MLlib's convention).

The sum over all cells needs no dense matrix. With G = X'X, H = Y'Y and s = x_u . y_i it is sum(G * H) (elementwise) +
the sum over played cells of c (1 - s)^2 - s^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings

_GRAM_ROWS = 8_192


def extra_confidence(play_count: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Return the extra confidence c - 1 of played cells: float32, same shape as the play counts."""
    return (settings.alpha * _rating(play_count.astype(np.float64), settings)).astype(np.float32)


def _rating(play_count: np.ndarray, settings: WmfSettings) -> np.ndarray:
    return play_count if settings.confidence == "linear" else np.log1p(play_count / settings.epsilon)


def rating(play_count: Column, settings: WmfSettings) -> Column:
    """Return (c - 1) / alpha as a float column, which MLlib multiplies by alpha."""
    by_law = play_count if settings.confidence == "linear" else F.log1p(play_count / F.lit(settings.epsilon))
    return by_law.cast("float")


def row_regularization(counts: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Return the l of each row from its number of interactions (n,): (n,) float64."""
    if settings.regularization_scaling == "frequency":
        return settings.regularization * counts.astype(np.float64)
    return np.full(len(counts), settings.regularization, dtype=np.float64)


def gram(factors: np.ndarray) -> np.ndarray:
    """Return the Gram matrix F'F of factors (n, rank), summed in float64: (rank, rank)."""
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for first in range(0, len(factors), _GRAM_ROWS):  # in pieces: the copies in float64 stay small
        exact = factors[first : first + _GRAM_ROWS].astype(np.float64)
        total += exact.T @ exact
    return total


def eigenbasis(gram_matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gram matrix of factors F V, a diagonal, and the rotation V: two (rank, rank) float64.

    Scores stay if both sides are turned: (X V)(Y V)' = X Y'.
    """
    spectrum, turn = np.linalg.eigh(gram_matrix)
    return np.diag(np.maximum(spectrum, 0.0)), turn


def turned(factors: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return factors (n, rank) float32 in another basis."""
    return factors @ turn.astype(np.float32)


def penalty(factors: np.ndarray, regularization: np.ndarray) -> float:
    """Return the sum over rows of l |f|^2."""
    return float(regularization @ np.einsum("nk,nk->n", factors, factors, dtype=np.float64))


def total_loss(played_cells: float, user_gram: np.ndarray, track_gram: np.ndarray, penalties: float) -> float:
    """Return L from its parts; `played_cells` is the sum of c (1 - s)^2 - s^2 over played cells."""
    return played_cells + float(np.sum(user_gram * track_gram)) + penalties


def converged(losses: Sequence[tuple[int, float]], settings: WmfSettings) -> bool:
    """Tell if a fit has ended, from (iteration, loss) of all sweeps: the last was the last, or changed little."""
    if not losses:
        return False
    if losses[-1][0] >= settings.iterations:
        return True
    if settings.tolerance is None or len(losses) < 2:
        return False
    before, now = losses[-2][1], losses[-1][1]
    return before - now < settings.tolerance * before
