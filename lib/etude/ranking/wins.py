"""Count how often a user's relevant tracks outscore other candidates, for AUC, over all scores of a batch."""

from __future__ import annotations

import numpy as np

from etude.ranking.metrics import Doubles
from etude.search.candidates import Candidates, Floats, Pairs

_CELLS = 1 << 22
"""Scores in memory at a time (float32: 16 MB), so that memory doesn't grow with users or candidates."""


def wins(users: Floats, candidates: Candidates, unscored: int, relevant: Pairs) -> Doubles:
    """Return the sum of `pair_wins` over each user's relevant tracks: (U,) float64."""
    won = np.bincount(relevant.rows, pair_wins(users, candidates, unscored, relevant), minlength=len(users))
    return won.astype(np.float64)


def pair_wins(users: Floats, candidates: Candidates, unscored: int, relevant: Pairs) -> Doubles:
    """Count for each pair the candidates with lower scores, plus half of those with the same score, itself included.

    Args:
        users: (U, rank).
        candidates: tracks with factors.
        unscored: number of candidates without factors; they rank behind all others, and tie with one another.
        relevant: pairs of user row and track; a track outside `candidates` is one of the unscored.

    Returns:
        (P,) float64.
    """
    won = np.full(len(relevant.rows), unscored / 2)
    if not len(candidates):
        return won
    vectors = candidates.vector_of(relevant.tracks)
    counts = candidates.counts.astype(np.float32) if len(candidates.vectors) < len(candidates) else None
    step = max(1, _CELLS // len(candidates.vectors))
    for start in range(0, len(vectors), step):
        rows, columns = relevant.rows[start : start + step], vectors[start : start + step]
        mine, row_of = np.unique(rows, return_inverse=True)
        scores = (users[mine] @ candidates.vectors.T)[row_of]
        own = scores[np.arange(len(columns)), columns][:, None]
        above = unscored + _count(scores < own, counts) + _count(scores == own, counts) / 2
        won[start : start + step] = np.where(columns >= 0, above, unscored / 2)
    return won


def _count(where: np.ndarray, counts: np.ndarray | None) -> Doubles:
    """Return the number of tracks behind the true cells of each row of (P, V)."""
    return np.count_nonzero(where, axis=1) if counts is None else (where @ counts).astype(np.float64)
