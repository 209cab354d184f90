"""Explain a score: which of the user's plays carry it, and how much of it content gives.

With the factors y_j of the tracks that user u has played, W = (Y'C_u Y + l I)^-1 and x_u = W Y'C_u p, the score of
track i is a sum over the plays (Hu, Koren & Volinsky 2008, section 5):

    x_u . y_i = sum over played tracks j of c_uj y_i'W y_j

Blended factors solve (X'C_i X + (l + m) I) y_i = X'C_i p + m a g_i, so the part of the score that content gives is
m a g_i . (X'C_i X + (l + m) I)^-1 x_u.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def parts_of_score(track: Doubles, played: Doubles, extra: Doubles, gram: Doubles, regularization: float) -> Doubles:
    """Return what each play adds to the score of a track.

    Args:
        track: (rank,) y_i, whose score it is.
        played: (n, rank) fitted factors of the tracks that the user has played.
        extra: (n,) c - 1 of these plays.
        gram: (rank, rank) Y'Y of all fitted tracks.
        regularization: l of the user.

    Returns:
        (n,) parts; their sum is the score by factors that solve the user's system exactly.
    """
    direction = np.linalg.solve(_system(gram, played, extra, regularization), track)
    return (1 + extra) * (played @ direction)


def content_part(
    user: Doubles,
    prior: Doubles,
    weight: float,
    listeners: Doubles,
    extra: Doubles,
    gram: Doubles,
    regularization: float,
) -> float:
    """Return the part of the score that the prior of a blended track gives.

    Args:
        user: (rank,) x_u.
        prior: (rank,) a g_i.
        weight: m.
        listeners: (n, rank) factors of the users who have played the track, at least one.
        extra: (n,) c - 1 of their plays.
        gram: (rank, rank) X'X of all users.
        regularization: l of the track.
    """
    return float(weight * prior @ np.linalg.solve(_system(gram, listeners, extra, regularization + weight), user))


def _system(gram: Doubles, factors: Doubles, extra: Doubles, diagonal: float) -> Doubles:
    return gram + factors.T @ (extra[:, None] * factors) + diagonal * np.eye(len(gram))
