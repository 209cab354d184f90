"""Solve a block of rows: numpy arrays in and out, without Spark."""

from __future__ import annotations

import numpy as np

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Block
from etude.factors.compiled import kernels
from etude.factors.objective import row_regularization


def improve(block: Block, fixed: np.ndarray, gram: np.ndarray, last: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Solve the block's rows by `wmf.solver` on the other side's factors.

    Args:
        block: the rows' interactions.
        fixed: factors of the other side, (m, rank) float32.
        gram: their Gram matrix, (rank, rank) float64.
        last: the rows' current factors, (rows, rank) float32; the start of conjugate gradient.
        settings: solver, steps and regularization.

    Returns:
        The rows' factors, (rows, rank) float32.
    """
    if settings.solver == "cholesky":
        return solve(block, fixed, gram, settings)
    x = last.astype(np.float32, copy=True)
    regularization = row_regularization(np.diff(block.indptr), settings).astype(np.float32)
    kernels().solve_cg(
        block.indptr,
        block.columns,
        block.weights,
        fixed,
        gram.astype(np.float32),
        regularization,
        x,
        settings.cg_steps,
    )
    return x


def solve(block: Block, fixed: np.ndarray, gram: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Return the exact (closed-form) factors of the block's rows; NaN for rows without a unique solution."""
    x = np.empty((len(block), fixed.shape[1]), dtype=np.float32)
    regularization = row_regularization(np.diff(block.indptr), settings)
    kernels().solve_exactly(block.indptr, block.columns, block.weights, fixed, gram, regularization, x)
    return x


def played_cells(block: Block, fixed: np.ndarray, x: np.ndarray) -> float:
    """Return the played cells' part of the loss (see objective.py) for factors `x` of the block's rows."""
    return float(kernels().played_cells(block.indptr, block.columns, block.weights, fixed, x))
