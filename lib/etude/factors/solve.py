"""Solve a block of rows: numpy arrays in and out, without Spark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Block
from etude.factors.compiled import kernels
from etude.factors.objective import row_regularization


@dataclass(frozen=True)
class Terms:
    """Hold what a prior adds to the equations of one side's rows (see kernels.py and prior.py).

    Attributes:
        exposure: (n,) float32: weight of the unplayed cells of each row.
        columns: (m,) float32: the same of each row of the other side.
        pull: (n, rank) float32: what is added to each row's right-hand side; (0, rank) for nothing.
        weight: what is added to each row's regularization.
    """

    exposure: np.ndarray
    columns: np.ndarray
    pull: np.ndarray
    weight: float


def improve(
    block: Block,
    fixed: np.ndarray,
    gram: np.ndarray,
    last: np.ndarray,
    settings: WmfSettings,
    terms: Terms | None = None,
) -> np.ndarray:
    """Solve the block's rows by `wmf.solver` on the other side's factors.

    Args:
        block: the rows' interactions.
        fixed: factors of the other side, (m, rank) float32.
        gram: their Gram matrix, (rank, rank) float64.
        last: the rows' current factors, (rows, rank) float32; the start of conjugate gradient.
        settings: solver, steps and regularization.
        terms: a prior's terms for all rows of the side; None without a prior.

    Returns:
        The rows' factors, (rows, rank) float32.
    """
    if settings.solver == "cholesky":
        return solve(block, fixed, gram, settings, terms)
    x = last.astype(np.float32, copy=True)
    regularization = _regularization(block, settings, terms).astype(np.float32)
    exposure, pull = _exposure(block, terms), _pull(block, fixed.shape[1], terms)
    kernels().solve_cg(
        block.indptr,
        block.columns,
        block.weights,
        _beyond(block, terms),
        fixed,
        gram.astype(np.float32),
        exposure,
        regularization,
        pull,
        x,
        settings.cg_steps,
    )
    return x


def solve(
    block: Block, fixed: np.ndarray, gram: np.ndarray, settings: WmfSettings, terms: Terms | None = None
) -> np.ndarray:
    """Return the exact (closed-form) factors of the block's rows; NaN for rows without a unique solution."""
    x = np.empty((len(block), fixed.shape[1]), dtype=np.float32)
    kernels().solve_exactly(
        block.indptr,
        block.columns,
        block.weights,
        _beyond(block, terms),
        fixed,
        gram,
        _exposure(block, terms).astype(np.float64),
        _regularization(block, settings, terms),
        _pull(block, fixed.shape[1], terms),
        x,
    )
    return x


def played_cells(block: Block, fixed: np.ndarray, x: np.ndarray, terms: Terms | None = None) -> float:
    """Return the played cells' part of the loss (see objective.py) for factors `x` of the block's rows."""
    beyond = _beyond(block, terms)
    return float(kernels().played_cells(block.indptr, block.columns, block.weights, beyond, fixed, x))


def _beyond(block: Block, terms: Terms | None) -> np.ndarray:
    """Return what each interaction weighs beyond an unplayed cell: float32."""
    if terms is None:
        return block.weights
    cells = np.repeat(terms.exposure[block.rows], np.diff(block.indptr)) * terms.columns[block.columns]
    return block.weights + (np.float32(1) - cells)


def _exposure(block: Block, terms: Terms | None) -> np.ndarray:
    return np.ones(len(block), np.float32) if terms is None else terms.exposure[block.rows]


def _regularization(block: Block, settings: WmfSettings, terms: Terms | None) -> np.ndarray:
    return row_regularization(np.diff(block.indptr), settings) + (0.0 if terms is None else terms.weight)


def _pull(block: Block, rank: int, terms: Terms | None) -> np.ndarray:
    none = np.empty((0, rank), np.float32)
    return none if terms is None or not len(terms.pull) else terms.pull[block.rows]
