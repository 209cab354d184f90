"""Rank and measure by the definitions, one user and one track at a time."""

from __future__ import annotations

import math

import numpy as np


def rank(scores: dict[int, float], n: int) -> list[int]:
    """Return tracks by score descending, then index."""
    return sorted(scores, key=lambda track: (-scores[track], track))[:n]


def list_metrics(ranking: list[int], relevant: set[int], k: int) -> dict[str, float]:
    first = ranking[:k]
    hits = [track in relevant for track in first]
    p, r = sum(hits) / k, sum(hits) / len(relevant)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(relevant))))
    return {
        "precision": p,
        "recall": r,
        "f1": 2 * p * r / (p + r) if p + r else 0.0,
        "hit_rate": float(any(hits)),
        "map": sum(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit) / min(k, len(relevant)),
        "ndcg": sum(1 / math.log2(i + 2) for i, hit in enumerate(hits) if hit) / ideal,
        "mrr": next((1 / (i + 1) for i, hit in enumerate(hits) if hit), 0.0),
    }


def auc(scores: dict[int, float], candidates: set[int], relevant: set[int]) -> float | None:
    """Return the AUC of a user; `scores` lacks the candidates without factors."""
    others = candidates - relevant
    if not others:
        return None
    level = {track: scores.get(track, -math.inf) for track in candidates}
    won = [
        1.0 if level[good] > level[bad] else 0.5 if level[good] == level[bad] else 0.0
        for good in relevant
        for bad in others
    ]
    return float(np.mean(won))


def level(listeners: int) -> str:
    """Return the name of the level of a track with as many listeners."""
    return next(
        name
        for name, least in (("16", 16), ("8_15", 8), ("4_7", 4), ("2_3", 2), ("1", 1), ("0", 0))
        if listeners >= least
    )


def mean(values: list[float]) -> float:
    return float(np.mean(values))
