"""Compare the sweeps of wmf with implicit's: one thread each, the same interactions, start values and iterations.

    python benchmarks/wmf_sweeps.py build/bench/wmf_sweeps.json

10,000 users, 50,000 tracks, 0.94 million interactions of power-law popularity, rank 100, 15 iterations. Spark is left
out: this is the time of the arithmetic alone. Both run in turn, five times.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from _measured import machine, save
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Block
from etude.factors.objective import eigenbasis, gram, penalty, total_loss, turned
from etude.factors.solve import improve, played_cells

USERS, TRACKS, INTERACTIONS, RANK, ITERATIONS, PAIRS = 10_000, 50_000, 940_000, 100, 15, 5
SETTINGS = WmfSettings(rank=RANK, regularization=10.0)


def interactions() -> csr_matrix:
    """Return extra confidences c - 1 by user and track: log(1 + plays), users and tracks of unequal activity."""
    rng = np.random.default_rng(0)
    of_users, of_tracks = np.exp(rng.standard_normal(USERS)), 1 / np.arange(1, TRACKS + 1) ** 0.8
    drawn = int(1.2 * INTERACTIONS)
    users = rng.choice(USERS, drawn, p=of_users / of_users.sum()).astype(np.int64)
    tracks = rng.permutation(TRACKS)[rng.choice(TRACKS, drawn, p=of_tracks / of_tracks.sum())]
    pairs = rng.permutation(np.unique(users * TRACKS + tracks))[:INTERACTIONS]
    weights = np.log1p(rng.geometric(0.4, len(pairs))).astype(np.float32)
    return csr_matrix((weights, np.divmod(pairs, TRACKS)), shape=(USERS, TRACKS))


def block(matrix: csr_matrix) -> Block:
    matrix.sort_indices()
    return Block(0, 0, matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)


def etudes(matrix: csr_matrix, users: np.ndarray, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit as the engine `blocked` does, in this process."""
    sides = block(matrix), block(matrix.T.tocsr())
    values = [users, tracks]
    for _ in range(ITERATIONS):
        for side in (0, 1):
            diagonal, turn = eigenbasis(gram(values[1 - side]))
            fixed = values[1 - side] = turned(values[1 - side], turn)
            values[side], _ = improve(sides[side], fixed, diagonal, turned(values[side], turn), SETTINGS)
    return values[0], values[1]


def implicits(matrix: csr_matrix, users: np.ndarray, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit by implicit, whose confidence is the value itself."""
    model = AlternatingLeastSquares(
        RANK, regularization=SETTINGS.regularization, alpha=1.0, iterations=ITERATIONS, num_threads=1
    )
    model.user_factors, model.item_factors = users.copy(), tracks.copy()
    confidence = matrix.copy()
    confidence.data = confidence.data + np.float32(1)
    model.fit(confidence, show_progress=False)
    return model.user_factors, model.item_factors


def loss(matrix: csr_matrix, users: np.ndarray, tracks: np.ndarray) -> float:
    penalties = sum(penalty(each, np.full(len(each), SETTINGS.regularization)) for each in (users, tracks))
    return total_loss(played_cells(block(matrix), tracks, users), gram(users), gram(tracks), penalties)


def main(path: str) -> None:
    matrix, rng = interactions(), np.random.default_rng(1)
    users, tracks = ((0.01 * rng.standard_normal((n, RANK))).astype(np.float32) for n in (USERS, TRACKS))
    fits = {"implicit": implicits, "etude": etudes}
    improve(block(matrix[:10]), tracks, np.diag(np.ones(RANK)), users[:10], SETTINGS)  # compiles
    seconds: dict[str, dict[str, list[float]]] = {name: {"wall_s": [], "cpu_s": []} for name in fits}
    losses = {}
    for _ in range(PAIRS):
        for name, fit in fits.items():
            wall, cpu = time.monotonic(), time.process_time()
            fitted = fit(matrix, users, tracks)
            seconds[name]["wall_s"].append(time.monotonic() - wall)
            seconds[name]["cpu_s"].append(time.process_time() - cpu)
            losses[name] = loss(matrix, *fitted)
    pairs = zip(seconds["etude"]["cpu_s"], seconds["implicit"]["cpu_s"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    save(
        path,
        {
            "machine": machine(),
            "size": {"users": USERS, "tracks": TRACKS, "interactions": matrix.nnz, "rank": RANK, "sweeps": ITERATIONS},
            "seconds": seconds,
            "cpu_ratio_median": statistics.median(ratios),
            "cpu_ratio_spread": [min(ratios), max(ratios)],
            "loss": losses,
            "loss_ratio": losses["etude"] / losses["implicit"],
        },
    )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main(sys.argv[1])
