"""Count how often a user's relevant tracks outscore other candidates, for AUC, over all scores of a batch."""

from __future__ import annotations

import numpy as np

from etude.ranking.metrics import Doubles
from etude.search.candidates import Candidates, Floats, Pairs

_CELLS = 1 << 22
"""Scores in memory at a time (float32: 16 MB), so that memory doesn't grow with users or candidates."""


def wins(users: Floats, candidates: Candidates, unscored: int, relevant: Pairs) -> Doubles:
    """Sum, over each user's relevant tracks, the candidates with lower scores, plus half of those with the same score.

    See `pair_wins`. Returns (U,) float64.
    """
    lower, same = pair_wins(users, candidates, unscored, relevant)
    return np.bincount(relevant.rows, lower + same / 2, minlength=len(users)).astype(np.float64)


def pair_wins(users: Floats, candidates: Candidates, unscored: int, relevant: Pairs) -> tuple[Doubles, Doubles]:
    """Count for each pair the candidates with lower scores, and those with the same score, itself included.

    Args:
        users: (U, rank).
        candidates: tracks with factors.
        unscored: number of candidates without factors; they rank behind all others, and tie with one another.
        relevant: pairs of user row and track; a track outside `candidates` is one of the unscored.

    Returns:
        (P,) and (P,) float64.
    """
    lower, same = np.zeros(len(relevant.rows)), np.full(len(relevant.rows), float(unscored))
    if not len(candidates):
        return lower, same
    vectors = candidates.vector_of(relevant.tracks)
    counts = candidates.counts.astype(np.float32) if len(candidates.vectors) < len(candidates) else None
    step = max(1, _CELLS // len(candidates.vectors))
    for start in range(0, len(vectors), step):
        rows, columns = relevant.rows[start : start + step], vectors[start : start + step]
        mine, row_of = np.unique(rows, return_inverse=True)
        scores = (users[mine] @ candidates.vectors.T)[row_of]
        own, scored = scores[np.arange(len(columns)), columns][:, None], columns >= 0
        lower[start : start + step] = np.where(scored, unscored + _count(scores < own, counts), 0)
        same[start : start + step] = np.where(scored, _count(scores == own, counts), unscored)
    return lower, same


def _count(where: np.ndarray, counts: np.ndarray | None) -> Doubles:
    """Return the number of tracks behind the true cells of each row of (P, V)."""
    return np.count_nonzero(where, axis=1) if counts is None else (where @ counts).astype(np.float64)
