"""Rank warm tracks by the tracks that a user has played: item-kNN and EASE, baselines of the factorisation.

Both score track i for user u by a sum over the tracks j that u has played, of a similarity b_ji. With G = X'X, which
counts the users that two tracks share:

- item-kNN: the cosine g_ji / sqrt(g_jj g_ii), if j is one of the k nearest tracks of i (Sarwar et al. 2001);
- EASE: B = I - P diag(P)^-1 with P = (G + penalty I)^-1 (Steck 2019), the linear model with a zero diagonal that
  predicts the plays with the least squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from etude.search.candidates import Floats, Ints

Doubles = npt.NDArray[np.float64]

_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
_NEAREST = (20, 100, 500)
_JUDGED_BY = 5_000
"""Most users on whose validation plays a number is chosen."""
_LISTED = 100


@dataclass(frozen=True)
class Neighbours:
    """Hold the similarities of one model.

    Attributes:
        tracks: (I,) track indices, ascending.
        similarity: (I, I) float32, b_ji in row i: what a play of track j adds to the score of track i.
        chosen: the penalty or the number of nearest tracks.
    """

    tracks: Ints
    similarity: Floats
    chosen: float


def neighbour_models(training: npt.NDArray, validation: npt.NDArray, tracks: Ints) -> dict[str, Neighbours]:
    """Return item-kNN and EASE, each with the number that finds the most validation plays among the first 100.

    Args:
        training: (n, 2) user_idx, track_idx of training plays, without repeats.
        validation: (m, 2) user_idx, track_idx of validation plays.
        tracks: (I,) indices of the warm tracks, ascending; other tracks' plays are ignored.
    """
    users = np.unique(training[:, 0])
    played = _matrix(training, users, tracks)
    gram = (played.T @ played).toarray().astype(np.float64)
    judged, withheld = _judges(played, _matrix(validation, users, tracks))
    makers: dict[str, tuple[Callable[[Doubles, float], Floats], tuple[float, ...]]] = {
        "item_knn": (cosines, _NEAREST),
        "ease": (ease, _PENALTIES),
    }
    found = {}
    for name, (maker, numbers) in makers.items():
        tried = [Neighbours(tracks, maker(gram, number), number) for number in numbers]
        hits = [_hits(each.similarity, judged, withheld) for each in tried]
        found[name] = tried[int(np.argmax(hits))]
    return found


def ease(gram: Doubles, penalty: float) -> Floats:
    """Return the similarities of EASE: (I, I) float32, b_ji in row i."""
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights.T, np.float32)


def cosines(gram: Doubles, nearest: float) -> Floats:
    """Return the cosines with each track's nearest tracks, 0 for all others: (I, I) float32, b_ji in row i."""
    lengths = np.sqrt(np.maximum(np.diag(gram), 1.0))
    found = gram / np.outer(lengths, lengths)
    np.fill_diagonal(found, 0.0)
    k = int(nearest)
    if k < len(found):
        least = np.partition(found, len(found) - k, axis=1)[:, [len(found) - k]]
        found[found < least] = 0.0
    return found.astype(np.float32)


def _matrix(pairs: npt.NDArray, users: npt.NDArray, tracks: Ints) -> sp.csr_matrix:
    """Return the pairs of known users and tracks as (users, tracks) float32."""
    kept = pairs[np.isin(pairs[:, 0], users) & np.isin(pairs[:, 1], tracks)]
    places = np.searchsorted(users, kept[:, 0]), np.searchsorted(tracks, kept[:, 1])
    return sp.csr_matrix((np.ones(len(kept), np.float32), places), shape=(len(users), len(tracks)))


def _judges(played: sp.csr_matrix, withheld: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return the plays and validation plays of evenly spaced users with validation plays."""
    rows = np.flatnonzero(np.diff(withheld.indptr))
    rows = rows[:: max(1, -(-len(rows) // _JUDGED_BY))]
    return played[rows], withheld[rows]


def _hits(similarity: Floats, played: sp.csr_matrix, withheld: sp.csr_matrix) -> int:
    """Return the number of withheld plays among the first 100 tracks that their users haven't played."""
    hits, listed = 0, min(_LISTED, similarity.shape[0])
    for first in range(0, played.shape[0], 512):
        mine = played[first : first + 512]
        scores = np.asarray(mine @ similarity.T)
        scores[mine.nonzero()] = -np.inf
        top = np.argpartition(-scores, listed - 1, axis=1)[:, :listed]
        hits += int(np.take_along_axis(withheld[first : first + 512].toarray(), top, axis=1).sum())
    return hits
