"""Compute ranking metrics: each function takes arrays of a batch of users and returns one value per user.

`hits` is (U, K) bool, true if the track at that position is relevant to the user. `relevant` is (U,) int64, the number
of the user's relevant tracks among the candidates, at least 1. Missing positions at the end of short lists count as
misses. sums.py takes the means over users (macro mean: all users have the same weight).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def precision(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """Return hits in the first k / k (Herlocker et al. 2004).

    >>> precision(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.66666667])
    """
    return hits[:, :k].sum(axis=1) / k


def recall(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Return hits in the first k / relevant (Herlocker et al. 2004).

    >>> recall(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.4])
    """
    return hits[:, :k].sum(axis=1) / relevant


def f1(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Return the harmonic mean of precision and recall at k: 2 hits / (k + relevant); 0 without hits.

    >>> f1(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.5])
    """
    return 2 * hits[:, :k].sum(axis=1) / (k + relevant)


def hit_rate(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """Return 1 if one of the first k is a hit, otherwise 0.

    >>> hit_rate(np.array([[False, True, True]]), np.array([5]), 1)
    array([0.])
    """
    return hits[:, :k].any(axis=1).astype(np.float64)


def average_precision(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Return the sum of precision@p over hits at p <= k, over min(k, relevant); MAP@k is its mean (Aiolli 2013).

    >>> average_precision(np.array([[True, False, True]]), np.array([2]), 3)
    array([0.83333333])
    """
    first = hits[:, :k]
    at = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    return (at * first).sum(axis=1) / np.minimum(k, relevant)


def ndcg(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Return the gain of the hits over the gain of an ideal list; a hit at position p gains 1 / log2(p + 1).

    The ideal list has min(k, relevant) hits at its front (Järvelin & Kekäläinen 2002, binary relevance, cut at k).

    >>> ndcg(np.array([[False, True, False]]), np.array([1]), 3)
    array([0.63092975])
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    found = hits[:, :k] @ gains[: hits.shape[1]]
    return found / np.cumsum(gains)[np.minimum(k, relevant) - 1]


def reciprocal_rank(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """Return 1 / position of the first hit, 0 without a hit in the first k; MRR@k is its mean (Voorhees 1999).

    >>> reciprocal_rank(np.array([[False, True, True]]), np.array([5]), 3)
    array([0.5])
    """
    first = hits[:, :k]
    return first.any(axis=1) / (first.argmax(axis=1) + 1)


LIST_METRICS: dict[str, Callable[[Bools, Counts, int], Doubles]] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "hit_rate": hit_rate,
    "map": average_precision,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}
"""Metrics of hits, by their name in the table `metrics`."""


def mean_over_list(values: npt.NDArray, listed: Bools, k: int) -> Doubles:
    """Return the mean of a value over the tracks in the first k positions; 0 for an empty list.

    Novelty@k is the mean of -log2(share of plays) (Vargas & Castells 2011), cold_share@k that of 1 = cold, 0 = warm.

    Args:
        values: (U, K) the value of each listed track.
        listed: (U, K) bool, true if the position holds a track.
        k: length of the list.

    >>> mean_over_list(np.array([[1.0, 0.0, 9.9]]), np.array([[True, True, False]]), 3)
    array([0.5])
    """
    filled = listed[:, :k].sum(axis=1)
    return np.where(listed[:, :k], values[:, :k], 0).sum(axis=1) / np.maximum(filled, 1)


def auc(wins: Doubles, relevant: Counts, candidates: int) -> Doubles:
    """Return the probability that a relevant track outscores another one; ties count half (Rendle et al. 2009).

    Args:
        wins: (U,) over the user's relevant tracks, the sum of candidates with lower scores + half of those with the
            same score (including relevant candidates and the track itself).
        relevant: (U,) number of relevant tracks.
        candidates: number of candidates, including relevant ones.

    Returns:
        (U,) float64; NaN if all candidates are relevant.

    `wins` includes all pairs of relevant tracks, whose sum is relevant**2 / 2 in any order.

    >>> auc(np.array([3.5 + 1.5]), np.array([2]), 4)  # scores 3 and 1 are relevant, 2 and 0 are not
    array([0.75])
    """
    others = candidates - relevant
    pairs = np.where(others > 0, relevant * others, 1)
    return np.where(others > 0, (wins - relevant**2 / 2) / pairs, np.nan)
