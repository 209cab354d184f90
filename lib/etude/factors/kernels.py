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
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Sums may be reordered (SIMD); NaN and infinity must propagate, because the fit is checked for them.
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_BUFFER_BYTES = 1 << 20  # gathered factors of a row: about half of a common L2 cache
_AHEAD = 8  # neighbours whose factors are on their way from memory while those of one are copied
_LINE = 16  # float32 in a cache line


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


@intrinsic
def _prefetch(typing_context, array, row, column):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Have a cache line of a matrix fetched, without waiting for it."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        matrix = context.make_array(kind)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, kind, matrix, arguments[1:], wraparound=False)
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
        # To read, into all levels of the cache, as data.
        builder.call(fetch, [builder.bitcast(place, pointer), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), code


@_jit
def _gather(buffer, fixed, columns, start, n):  # type: ignore[no-untyped-def]
    """Copy the factors of n neighbours, from `start` on, to the buffer."""
    last = columns.shape[0] - 1
    for j in range(n):
        later = np.intp(columns[min(start + j + _AHEAD, last)])
        for f in range(0, fixed.shape[1], _LINE):
            _prefetch(fixed, later, np.intp(f))  # type: ignore[call-arg]
        z, kept = fixed[columns[start + j]], buffer[j]
        for f in range(z.shape[0]):
            kept[f] = z[f]


# The next three take four neighbours at a time: what they share is then read and written a quarter as often.


@_jit
def _scores(buffer, n, x, out, at):  # type: ignore[no-untyped-def]
    """Set out[at + j] = z_j.x for the first n rows z_j of the buffer."""
    j = 0
    while j + 4 <= n:
        z0, z1, z2, z3 = buffer[j], buffer[j + 1], buffer[j + 2], buffer[j + 3]
        s0 = s1 = s2 = s3 = np.float32(0.0)
        for f in range(x.shape[0]):
            s0 += z0[f] * x[f]
            s1 += z1[f] * x[f]
            s2 += z2[f] * x[f]
            s3 += z3[f] * x[f]
        out[at + j], out[at + j + 1], out[at + j + 2], out[at + j + 3] = s0, s1, s2, s3
        j += 4
    while j < n:
        out[at + j] = _dot(buffer[j], x)
        j += 1


@_jit
def _add_up(buffer, n, a, at, out):  # type: ignore[no-untyped-def]
    """Add the sum of a[at + j] z_j to out."""
    j = 0
    while j + 4 <= n:
        z0, z1, z2, z3 = buffer[j], buffer[j + 1], buffer[j + 2], buffer[j + 3]
        a0, a1, a2, a3 = a[at + j], a[at + j + 1], a[at + j + 2], a[at + j + 3]
        for f in range(out.shape[0]):
            out[f] += a0 * z0[f] + a1 * z1[f] + a2 * z2[f] + a3 * z3[f]
        j += 4
    while j < n:
        _add_scaled(out, a[at + j], buffer[j])
        j += 1


@_jit
def _add_squares(buffer, n, w, at, out):  # type: ignore[no-untyped-def]
    """Add the sum of w[at + j] z_j^2, elementwise, to out."""
    j = 0
    while j + 4 <= n:
        z0, z1, z2, z3 = buffer[j], buffer[j + 1], buffer[j + 2], buffer[j + 3]
        w0, w1, w2, w3 = w[at + j], w[at + j + 1], w[at + j + 2], w[at + j + 3]
        for f in range(out.shape[0]):
            out[f] += w0 * z0[f] * z0[f] + w1 * z1[f] * z1[f] + w2 * z2[f] * z2[f] + w3 * z3[f] * z3[f]
        j += 4
    while j < n:
        z = buffer[j]
        for f in range(out.shape[0]):
            out[f] += w[at + j] * z[f] * z[f]
        j += 1


@_jit
def solve_cg(indptr, columns, weights, fixed, spectrum, regularization, pull, x, steps):  # type: ignore[no-untyped-def]
    """Improve x (n, rank) in place by preconditioned conjugate-gradient steps from its values.

    `fixed` is given in the eigenbasis of its Gram matrix G, so G is a diagonal, and (G + l I) p costs as much as a
    vector. The diagonal of the whole system, sum_j w_j z_j z_j' included, preconditions. A step then does what two or
    three steps without basis and preconditioner do. The last step needs only the curvature p.A p, not A p itself.

    Args:
        indptr: start of each row's neighbours in `columns`, and the end: (n + 1,) int64.
        columns: rows of `fixed`, int32.
        weights: w of each of them, float32.
        fixed: factors of the other side, (m, rank) float32.
        spectrum: diagonal of their Gram matrix, (rank,) float32.
        regularization: l of each row, float32.
        pull: b of each row, (n, rank) float32; (0, rank) for b = 0.
        x: start values, float32; overwritten with the solution.
        steps: conjugate-gradient steps.

    Returns:
        What `played_cells` returns for the solution: float64.
    """
    n, rank = x.shape
    longest = 1
    for row in range(n):
        longest = max(longest, indptr[row + 1] - indptr[row])
    capacity = min(longest, max(1, _BUFFER_BYTES // (4 * rank)))
    buffer = np.empty((capacity, rank), np.float32)
    scores, moved, scaled = np.empty(longest, np.float32), np.empty(longest, np.float32), np.empty(longest, np.float32)
    d = np.empty(rank, np.float32)
    m = np.empty(rank, np.float32)
    r = np.empty(rank, np.float32)
    p = np.empty(rank, np.float32)
    ap = np.empty(rank, np.float32)
    played = 0.0
    for row in range(n):
        low, high = indptr[row], indptr[row + 1]
        neighbours, y = high - low, x[row]
        for f in range(rank):
            d[f] = spectrum[f] + regularization[row]
            m[f] = d[f]
            r[f] = -d[f] * y[f]
        if pull.shape[0]:
            _add_scaled(r, np.float32(1.0), pull[row])
        for first in range(0, neighbours, capacity):
            size = min(neighbours - first, capacity)
            _gather(buffer, fixed, columns, low + first, size)
            _scores(buffer, size, y, scores, first)
            for j in range(first, first + size):
                scaled[j] = np.float32(1.0) + weights[low + j] - weights[low + j] * scores[j]
            _add_up(buffer, size, scaled, first, r)
            _add_squares(buffer, size, weights, low + first, m)
        rr = np.float32(0.0)
        for f in range(rank):
            m[f] = np.float32(1.0) / m[f] if m[f] > 0.0 else np.float32(0.0)
            p[f] = m[f] * r[f]
            rr += p[f] * r[f]
        for step in range(steps):
            if rr < 1e-20:  # already solved; NaN goes on
                break
            last = step + 1 == steps
            for f in range(rank):
                ap[f] = d[f] * p[f]
            curvature = _dot(p, ap)
            for first in range(0, neighbours, capacity):
                size = min(neighbours - first, capacity)
                if neighbours > capacity:
                    _gather(buffer, fixed, columns, low + first, size)
                _scores(buffer, size, p, moved, first)
                for j in range(first, first + size):
                    scaled[j] = weights[low + j] * moved[j]
                    curvature += scaled[j] * moved[j]
                if not last:
                    _add_up(buffer, size, scaled, first, ap)
            length = rr / curvature
            _add_scaled(y, length, p)
            for j in range(neighbours):
                scores[j] += length * moved[j]
            if not last:
                _add_scaled(r, -length, ap)
                new = np.float32(0.0)
                for f in range(rank):
                    new += m[f] * r[f] * r[f]
                for f in range(rank):
                    p[f] = m[f] * r[f] + new / rr * p[f]
                rr = new
        for j in range(neighbours):
            played += _played_cell(weights[low + j], scores[j])
    return played


@_jit
def solve_exactly(indptr, columns, weights, fixed, gram, regularization, pull, x):  # type: ignore[no-untyped-def]
    """Solve every row's normal equations in float64 by Cholesky decomposition; arguments as in `solve_cg`.

    `fixed` may have any basis; its Gram matrix gram (rank, rank) and regularization are float64. Equations without a
    unique solution leave NaN.
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
            total += _played_cell(weights[j], _dot(fixed[columns[j]], x[row]))
    return total


@_jit
def _played_cell(w, score):  # type: ignore[no-untyped-def]
    s = np.float64(score)
    return (1.0 + w) * (1.0 - s) * (1.0 - s) - s * s
