"""Solve rows' equations in compiled loops.

The factors x of a row (a user or a track) solve

    (G + sum_j w_j z_j z_j' + l I) x = sum_j (1 + w_j) z_j + b

with its neighbours' factors z_j, their extra confidences w_j = c_j - 1, the Gram matrix G of all factors of the other
side, and the regularization l (Hu, Koren & Volinsky 2008, equation 4). With b = 0 that is their equation; otherwise b
pulls the row towards a prior, and l holds the prior's weight (see prior.py).

This file imports nothing from Etude, because `compiled.py` also loads it by path from a folder that numba can write.
Numba compiles the loops to machine code.
"""

import numpy as np
from numba import njit

# Sums may be reordered (SIMD); NaN and infinity must propagate, because the fit is checked for them.
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_BATCH_ROWS = 64
_BUFFER_BYTES = 1 << 20  # gathered factors of a batch: about half of a common L2 cache


def _jit(function):  # type: ignore[no-untyped-def]
    try:
        return njit(cache=True, nogil=True, fastmath=_FAST)(function)
    except RuntimeError:  # no folder can be written for the machine code
        return njit(nogil=True, fastmath=_FAST)(function)


@_jit
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for f in range(a.shape[0]):
        total += a[f] * b[f]
    return total


@_jit
def _add_scaled(out, scale, vector):  # type: ignore[no-untyped-def]
    for f in range(out.shape[0]):
        out[f] += scale * vector[f]


@_jit
def _add_residual(out, factors, at, weights, x):  # type: ignore[no-untyped-def]
    """Add sum_j (1 + w_j - w_j z_j.x) z_j: the right-hand side minus the played cells' part of A x."""
    for j in range(at.shape[0]):
        z = factors[at[j]]
        _add_scaled(out, np.float32(1.0) + weights[j] - weights[j] * _dot(z, x), z)


@_jit
def _add_product(out, factors, at, weights, p):  # type: ignore[no-untyped-def]
    """Add sum_j w_j (z_j.p) z_j."""
    for j in range(at.shape[0]):
        z = factors[at[j]]
        _add_scaled(out, weights[j] * _dot(z, p), z)


@_jit
def solve_cg(indptr, columns, weights, fixed, gram, regularization, pull, x, steps):  # type: ignore[no-untyped-def]
    """Improve x (n, rank) in place by conjugate-gradient steps from its values.

    Rows are solved in batches: their neighbours' factors are gathered into a buffer once, and (Y'Y) p of the batch is
    one matrix product. A row longer than the buffer is a batch of its own and reads `fixed` directly.

    Args:
        indptr: start of each row's neighbours in `columns`, and the end: (n + 1,) int64.
        columns: rows of `fixed`, int32.
        weights: w of each of them, float32.
        fixed: factors of the other side, (m, rank) float32.
        gram: their Gram matrix, float32.
        regularization: l of each row, float32.
        pull: b of each row, (n, rank) float32; (0, rank) for b = 0.
        x: start values, float32; overwritten with the solution.
        steps: conjugate-gradient steps.
    """
    n, rank = x.shape
    capacity = max(1, _BUFFER_BYTES // (4 * rank))
    buffer = np.empty((capacity, rank), np.float32)
    in_buffer = np.arange(capacity).astype(np.int32)
    r = np.empty((_BATCH_ROWS, rank), np.float32)
    p = np.empty((_BATCH_ROWS, rank), np.float32)
    ap = np.empty((_BATCH_ROWS, rank), np.float32)
    rr = np.empty(_BATCH_ROWS, np.float32)
    first = 0
    while first < n:
        begin = indptr[first]
        last = first + 1
        while last < n and last - first < _BATCH_ROWS and indptr[last + 1] - begin <= capacity:
            last += 1
        size = last - first
        gathered = indptr[last] - begin <= capacity
        if gathered:
            for j in range(indptr[last] - begin):
                buffer[j] = fixed[columns[begin + j]]
        near = buffer if gathered else fixed
        np.dot(x[first:last], gram, r[:size])
        for i in range(size):
            row, low, high = first + i, indptr[first + i], indptr[first + i + 1]
            at = in_buffer[low - begin : high - begin] if gathered else columns[low:high]
            for f in range(rank):
                r[i, f] = -r[i, f] - regularization[row] * x[row, f]
            if pull.shape[0]:
                _add_scaled(r[i], np.float32(1.0), pull[row])
            _add_residual(r[i], near, at, weights[low:high], x[row])
            p[i] = r[i]
            rr[i] = _dot(r[i], r[i])
        for _ in range(steps):
            np.dot(p[:size], gram, ap[:size])
            for i in range(size):
                if rr[i] < 1e-20:  # already solved
                    continue
                row, low, high = first + i, indptr[first + i], indptr[first + i + 1]
                at = in_buffer[low - begin : high - begin] if gathered else columns[low:high]
                _add_scaled(ap[i], regularization[row], p[i])
                _add_product(ap[i], near, at, weights[low:high], p[i])
                step = rr[i] / _dot(p[i], ap[i])
                _add_scaled(x[row], step, p[i])
                _add_scaled(r[i], -step, ap[i])
                new = _dot(r[i], r[i])
                turn = new / rr[i]
                for f in range(rank):
                    p[i, f] = r[i, f] + turn * p[i, f]
                rr[i] = new
        first = last


@_jit
def solve_exactly(indptr, columns, weights, fixed, gram, regularization, pull, x):  # type: ignore[no-untyped-def]
    """Solve every row's normal equations in float64 by Cholesky decomposition; arguments as in `solve_cg`.

    gram and regularization are float64. Equations without a unique solution leave NaN.
    """
    n, rank = x.shape
    capacity = max(1, _BUFFER_BYTES // (8 * rank))
    near = np.empty((capacity, rank), np.float64)
    scaled = np.empty((capacity, rank), np.float64)
    for row in range(n):
        a = gram.copy()
        b = np.zeros(rank, np.float64)
        if pull.shape[0]:
            b += pull[row]
        for f in range(rank):
            a[f, f] += regularization[row]
        low = indptr[row]
        while low < indptr[row + 1]:
            size = min(capacity, indptr[row + 1] - low)
            for j in range(size):
                w = np.float64(weights[low + j])
                for f in range(rank):
                    near[j, f] = fixed[columns[low + j], f]
                    scaled[j, f] = w * near[j, f]
                    b[f] += (1.0 + w) * near[j, f]
            a += np.dot(near[:size].T, scaled[:size])
            low += size
        _solve_positive(a, b)
        x[row] = b.astype(np.float32)


@_jit
def _solve_positive(a, b):  # type: ignore[no-untyped-def]
    """Replace b with the solution of a x = b; a is symmetric positive definite, its lower half is overwritten."""
    k = b.shape[0]
    for j in range(k):
        pivot = a[j, j]
        for f in range(j):
            pivot -= a[j, f] * a[j, f]
        pivot = np.sqrt(pivot) if pivot > 0.0 else np.nan
        a[j, j] = pivot
        for i in range(j + 1, k):
            total = a[i, j]
            for f in range(j):
                total -= a[i, f] * a[j, f]
            a[i, j] = total / pivot
    for i in range(k):
        for f in range(i):
            b[i] -= a[i, f] * b[f]
        b[i] /= a[i, i]
    for back in range(k):
        i = k - 1 - back
        for f in range(i + 1, k):
            b[i] -= a[f, i] * b[f]
        b[i] /= a[i, i]


@_jit
def played_cells(indptr, columns, weights, fixed, x):  # type: ignore[no-untyped-def]
    """Return the sum of c (1 - s)^2 - s^2 over the played cells of rows x, with s = x . y: float64."""
    total = 0.0
    for row in range(x.shape[0]):
        for j in range(indptr[row], indptr[row + 1]):
            s = np.float64(_dot(fixed[columns[j]], x[row]))
            total += (1.0 + weights[j]) * (1.0 - s) * (1.0 - s) - s * s
    return total
