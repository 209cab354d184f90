"""What a list is worth: one metric a function, from arrays of a batch of users to one figure a user.

`hits` is (U, K) bool, true where the track at that position is relevant to the user; `relevant` is (U,), how many
relevant tracks the user has among the candidates, at least 1. Lists shorter than K count as misses at their end. Means
over users are taken elsewhere (macro mean: every user weighs the same).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def precision(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """Hits in the first k / k (Herlocker et al. 2004).

    >>> precision(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.66666667])
    """
    return hits[:, :k].sum(axis=1) / k


def recall(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Hits in the first k / relevant (Herlocker et al. 2004).

    >>> recall(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.4])
    """
    return hits[:, :k].sum(axis=1) / relevant


def f1(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Harmonic mean of the user's precision and recall at k: 2 hits / (k + relevant); 0 without hits.

    >>> f1(np.array([[True, False, True]]), np.array([5]), 3)
    array([0.5])
    """
    return 2 * hits[:, :k].sum(axis=1) / (k + relevant)


def hit_rate(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """1 where one of the first k is a hit, else 0.

    >>> hit_rate(np.array([[False, True, True]]), np.array([5]), 1)
    array([0.])
    """
    return hits[:, :k].any(axis=1).astype(np.float64)


def average_precision(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Sum of precision@p over the hits at p <= k, divided by min(k, relevant); MAP@k is its mean (Aiolli 2013).

    >>> average_precision(np.array([[True, False, True]]), np.array([2]), 3)
    array([0.83333333])
    """
    first = hits[:, :k]
    at = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    return (at * first).sum(axis=1) / np.minimum(k, relevant)


def ndcg(hits: Bools, relevant: Counts, k: int) -> Doubles:
    """Gain of the hits over that of min(k, relevant) hits in front; one at p gains 1 / log2(p + 1).

    Järvelin & Kekäläinen 2002, binary relevance, the ideal list cut at k.

    >>> ndcg(np.array([[False, True, False]]), np.array([1]), 3)
    array([0.63092975])
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    found = hits[:, :k] @ gains[: hits.shape[1]]
    return found / np.cumsum(gains)[np.minimum(k, relevant) - 1]


def reciprocal_rank(hits: Bools, _relevant: Counts, k: int) -> Doubles:
    """1 / position of the first hit, 0 if there is none in the first k; MRR@k is its mean (Voorhees 1999).

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
"""Metrics of hits, by the name they have in the table `metrics`."""


def mean_over_list(values: npt.NDArray, listed: Bools, k: int) -> Doubles:
    """Mean of a figure over the tracks in the first k places; 0 for an empty list.

    Novelty@k is that of -log2(share of plays) (Vargas & Castells 2011), cold_share@k that of 1 = cold, 0 = warm.

    Args:
        values: (U, K) the figure of each listed track.
        listed: (U, K) where there is a track.
        k: length of the list.

    >>> mean_over_list(np.array([[1.0, 0.0, 9.9]]), np.array([[True, True, False]]), 3)
    array([0.5])
    """
    filled = listed[:, :k].sum(axis=1)
    return np.where(listed[:, :k], values[:, :k], 0).sum(axis=1) / np.maximum(filled, 1)


def auc(wins: Doubles, relevant: Counts, candidates: int) -> Doubles:
    """Chance that a relevant track scores above one that isn't, ties counting half (Rendle et al. 2009).

    Args:
        wins: (U,) over the user's relevant tracks, the sum of candidates scoring lower + half of those scoring the same
            (relevant ones and the track itself included).
        relevant: (U,) how many relevant tracks.
        candidates: how many candidates, relevant ones included.

    Returns:
        (U,); NaN where all candidates are relevant.

    Relevant tracks meet one another in all pairs, which add up to relevant**2 / 2 whatever their order.

    >>> auc(np.array([3.5 + 1.5]), np.array([2]), 4)  # scores 3 and 1 are relevant, 2 and 0 are not
    array([0.75])
    """
    others = candidates - relevant
    pairs = np.where(others > 0, relevant * others, 1)
    return np.where(others > 0, (wins - relevant**2 / 2) / pairs, np.nan)
