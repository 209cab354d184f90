"""Solve a block of rows: numpy arrays in and out, without Spark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Block
from etude.factors.compiled import kernels
from etude.factors.objective import row_regularization


@dataclass(frozen=True)
class Prior:
    """Hold the factors towards which the rows of a side are pulled.

    Attributes:
        values: (n, rank) float32, of each row of the side.
        weight: of their squared distance, in the units of the objective.
    """

    values: np.ndarray
    weight: float


def improve(
    block: Block,
    fixed: np.ndarray,
    gram: np.ndarray,
    last: np.ndarray,
    settings: WmfSettings,
    prior: Prior | None = None,
) -> tuple[np.ndarray, float]:
    """Solve the block's rows by `wmf.solver` on the other side's factors, in the eigenbasis of their Gram matrix.

    Args:
        block: the rows' interactions.
        fixed: factors of the other side, (m, rank) float32.
        gram: their Gram matrix, a diagonal one, (rank, rank) float64.
        last: the rows' current factors in the same basis, (rows, rank) float32; the start of conjugate gradient.
        settings: solver, steps and regularization.
        prior: of all rows of the side; None without one.

    Returns:
        The rows' factors, (rows, rank) float32, and their played cells' part of the loss (see objective.py).
    """
    if settings.solver == "cholesky":
        exact = solve(block, fixed, gram, settings, prior)
        return exact, played_cells(block, fixed, exact)
    x = last.astype(np.float32, copy=True)
    regularization, pull = _own_terms(block, fixed.shape[1], settings, prior)
    played = kernels().solve_cg(
        block.indptr,
        block.columns,
        block.weights,
        fixed,
        np.diagonal(gram).astype(np.float32),
        regularization.astype(np.float32),
        pull,
        x,
        settings.cg_steps,
    )
    return x, float(played)


def solve(
    block: Block, fixed: np.ndarray, gram: np.ndarray, settings: WmfSettings, prior: Prior | None = None
) -> np.ndarray:
    """Return the exact (closed-form) factors of the block's rows; NaN for rows without a unique solution."""
    x = np.empty((len(block), fixed.shape[1]), dtype=np.float32)
    regularization, pull = _own_terms(block, fixed.shape[1], settings, prior)
    kernels().solve_exactly(block.indptr, block.columns, block.weights, fixed, gram, regularization, pull, x)
    return x


def played_cells(block: Block, fixed: np.ndarray, x: np.ndarray) -> float:
    """Return the played cells' part of the loss for factors `x` of the block's rows."""
    return float(kernels().played_cells(block.indptr, block.columns, block.weights, fixed, x))


def _own_terms(block: Block, rank: int, settings: WmfSettings, prior: Prior | None) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's regularization (float64), and its part of the right-hand side; (0, rank) without a prior."""
    regularization = row_regularization(np.diff(block.indptr), settings)
    if prior is None:
        return regularization, np.empty((0, rank), np.float32)
    return regularization + prior.weight, np.float32(prior.weight) * prior.values[block.rows]
