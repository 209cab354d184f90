"""Test the compiled kernels against the normal equations in numpy."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.config.wmf import WmfSettings
from etude.factors import compiled, kernels
from etude.factors.blocks import Block
from etude.factors.foldin import fold_in_row
from etude.factors.objective import eigenbasis, extra_confidence, gram, turned
from etude.factors.solve import improve, played_cells, solve


def block_of(rows: list[np.ndarray], weights: list[np.ndarray]) -> Block:
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Block(0, 0, ends, np.concatenate(rows).astype(np.int32), np.concatenate(weights).astype(np.float32))


def improved(block, fixed, start, wmf) -> np.ndarray:
    """Improve in the eigenbasis of the Gram matrix, where `improve` works, and return to the basis of `fixed`."""
    diagonal, turn = eigenbasis(gram(fixed))
    there = turned(fixed, turn)
    found, played = improve(block, there, diagonal, turned(start, turn), wmf)
    assert played == pytest.approx(played_cells(block, there, found), rel=1e-4, abs=1e-3)
    return turned(found, turn.T)


def dense_solution(columns, weights, fixed, regularization) -> np.ndarray:
    """Solve (Y' C Y + l I) x = Y' C p over all tracks, C and p dense."""
    y = fixed.astype(np.float64)
    c, p = np.ones(len(y)), np.zeros(len(y))
    c[columns] += weights
    p[columns] = 1
    return np.linalg.solve(y.T @ (c[:, None] * y) + regularization * np.eye(y.shape[1]), y.T @ (c * p))


@st.composite
def problems(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank, others = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    rows = [
        random.choice(others, random.integers(1, others + 1), replace=False) for _ in range(draw(st.integers(1, 8)))
    ]
    weights = [random.gamma(1, draw(st.sampled_from([0.5, 5, 40])), len(row)).astype(np.float32) for row in rows]
    fixed = random.normal(0, 0.5, (others, rank)).astype(np.float32)
    scaling = draw(st.sampled_from(["none", "frequency"]))
    return rows, weights, fixed, WmfSettings(rank=rank, regularization=1.5, regularization_scaling=scaling)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_both_solvers_solve_the_dense_normal_equations(problem):
    rows, weights, fixed, wmf = problem
    block = block_of(rows, weights)
    exact = solve(block, fixed, gram(fixed), wmf)
    start = np.zeros_like(exact)
    near = improved(block, fixed, start, wmf.model_copy(update={"cg_steps": 60}))
    assert not start.any()
    for row, (columns, weight) in enumerate(zip(rows, weights, strict=True)):
        l = 1.5 * (len(columns) if wmf.regularization_scaling == "frequency" else 1)  # noqa: E741
        expected = dense_solution(columns, weight, fixed, l)
        assert exact[row] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert near[row] == pytest.approx(expected, rel=5e-3, abs=5e-4)


@given(problems())
@settings(max_examples=30, deadline=None)
def test_every_step_lowers_the_rows_loss(problem):
    """Conjugate gradient improves the factors from any start."""
    rows, weights, fixed, wmf = problem
    block = block_of(rows, weights)
    x = np.full((len(rows), wmf.rank), 0.3, dtype=np.float32)

    def rows_loss(x: np.ndarray) -> float:
        counts = np.diff(block.indptr) if wmf.regularization_scaling == "frequency" else np.ones(len(rows))
        norms = 1.5 * counts @ (x.astype(np.float64) ** 2).sum(axis=1)
        return played_cells(block, fixed, x) + float(np.sum(gram(fixed) * gram(x))) + norms

    last = rows_loss(x)
    for _ in range(3):
        x = improved(block, fixed, x, wmf.model_copy(update={"cg_steps": 1}))
        assert rows_loss(x) <= last * (1 + 1e-5) + 1e-4
        last = rows_loss(x)


def test_a_row_longer_than_the_buffer_among_many_rows():
    random = np.random.default_rng(1)
    wmf = WmfSettings(rank=40, regularization=3, cg_steps=40)
    fixed = random.normal(0, 0.2, (20_000, 40)).astype(np.float32)
    sizes = [3, 15_000, 1, *random.integers(1, 400, 300), 9_000]
    rows = [np.sort(random.choice(20_000, size, replace=False)) for size in sizes]
    weights = [random.gamma(1, 2, size).astype(np.float32) for size in sizes]
    block = block_of(rows, weights)
    exact = solve(block, fixed, gram(fixed), wmf)
    near = improved(block, fixed, np.zeros_like(exact), wmf)
    for row in (0, 1, 2, 150, len(rows) - 1):
        assert exact[row] == pytest.approx(dense_solution(rows[row], weights[row], fixed, 3), rel=1e-4, abs=1e-5)
    assert near == pytest.approx(exact, rel=1e-3, abs=2e-4)


def test_equations_without_a_solution_give_nan_not_a_crash():
    fixed = np.zeros((3, 2), dtype=np.float32)
    block = block_of([np.array([0, 1])], [np.array([1.0, 1.0])])
    assert np.isnan(
        solve(block, fixed, gram(fixed), WmfSettings(rank=2).model_copy(update={"regularization": 0}))
    ).all()


def test_played_cells_complete_the_gram_trick():
    random = np.random.default_rng(2)
    x, y = (random.normal(0, 0.5, (n, 4)).astype(np.float32) for n in (6, 9))
    rows = [np.sort(random.choice(9, size, replace=False)) for size in (1, 3, 9, 2, 5, 4)]
    weights = [random.gamma(1, 3, len(row)).astype(np.float32) for row in rows]
    c, p = np.ones((6, 9)), np.zeros((6, 9))
    for row, (columns, weight) in enumerate(zip(rows, weights, strict=True)):
        c[row, columns] += weight
        p[row, columns] = 1
    brute = (c * (p - x.astype(np.float64) @ y.T.astype(np.float64)) ** 2).sum()
    assert played_cells(block_of(rows, weights), y, x) + np.sum(gram(x) * gram(y)) == pytest.approx(brute, rel=1e-6)


def test_folding_in_one_row():
    random = np.random.default_rng(4)
    fixed = random.normal(0, 0.3, (50, 8)).astype(np.float32)
    wmf = WmfSettings(rank=8, regularization=2, confidence="linear", alpha=5)
    neighbours, plays = np.array([3, 17, 40]), np.array([1, 9, 2])
    expected = dense_solution(neighbours, extra_confidence(plays, wmf), fixed, 2)
    assert fold_in_row(neighbours, plays, fixed, wmf) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_machine_code_is_cached_in_a_private_folder(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    found = compiled.kernels.__wrapped__()
    assert Path(found.__file__).parent == folder
    assert Path(found.__file__).read_bytes() == Path(kernels.__file__).read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)  # every user can now write code there
    assert compiled.kernels.__wrapped__() is kernels


@pytest.mark.slow
def test_kernels_compile_without_a_writable_folder(tmp_path):
    """Reproduce an executor without a home folder, on a read-only installation."""
    code = (
        "import numpy as np, sys\n"
        "from etude.factors import compiled\n"
        "from etude.config.wmf import WmfSettings\n"
        "from etude.factors.foldin import fold_in_row\n"
        "compiled._private_folder = lambda: None\n"
        "fixed = np.ones((2, 2), np.float32)\n"
        "print(fold_in_row(np.array([0]), np.array([1]), fixed, WmfSettings(rank=2)))\n"
    )
    nowhere = "/proc/nowhere"
    environment = {**os.environ, "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["NUMBA_CACHE_LOCATOR_CLASSES"] = "UserWideCacheLocator"  # a package folder that can't be written
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
