"""Merge lists of disjoint sets of tracks: the best of a union are among the best of its parts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from etude.search.candidates import Floats, Ints
from etude.search.cap import Cap

List = tuple[Ints, Floats]
"""Tracks and scores, both (U, n), as `top_n` returns them: best first, -1 and -inf at the end of short lists."""


def merge(parts: list[List], n: int, cap: Cap | None = None) -> List:
    """Return the n best of all parts, by score descending, then track ascending.

    A part's list must be its n best under the cap, if there is one, or all it has.
    """
    tracks = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    order = np.argsort(_keys(tracks, scores), axis=1)
    if cap is not None:
        return cap.cut(np.take_along_axis(tracks, order, axis=1), np.take_along_axis(scores, order, axis=1), n)
    order = order[:, :n]
    missing = ((0, 0), (0, n - order.shape[1]))
    tracks = np.pad(np.take_along_axis(tracks, order, axis=1), missing, constant_values=-1)
    return tracks, np.pad(np.take_along_axis(scores, order, axis=1), missing, constant_values=-np.inf)


def _keys(tracks: Ints, scores: Floats) -> npt.NDArray[np.int64]:
    """Return int64 keys that ascend by score descending, then track ascending; one sort instead of two.

    The bits of a float32, read as an integer, ascend with positive numbers and descend with negative ones.
    """
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0 the same bits as 0
    ascending = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    return (-ascending << 32) + tracks


def merge_with_quota(warm: List, cold: List, n: int, least: float, most: float = 1.0, cap: Cap | None = None) -> List:
    """Return the best list with, for every k, at least `least` k and at most `most` k cold tracks in the first k.

    Both numbers are rounded down to whole positions. The least ends with the last cold track, the most with the last
    warm one. Positions are filled from the front, each with the better of the next warm and the next cold track, unless
    only one of them keeps to the shares. So these hold for every prefix of the list, and scores need not descend. A cap
    passes over tracks whose artist has its number already.

    Args:
        warm: (U, m) lists of warm tracks: the n best, or all of them.
        cold: the same for cold tracks.
        n: length of the lists.
        least: 0 to 1.
        most: `least` to 1; with 0 and 1 it is `merge`.
        cap: limit of tracks per artist; None for no limit.
    """
    users = np.arange(len(warm[0]))
    warm, cold = _with_an_end(warm), _with_an_end(cold)
    tracks = np.full((len(users), n), -1, dtype=np.int32)
    scores = np.full((len(users), n), -np.inf, dtype=np.float32)
    taken = np.zeros(len(users), dtype=np.int64)
    at_warm, at_cold = np.zeros(len(users), dtype=np.int64), np.zeros(len(users), dtype=np.int64)
    for place in range(n):
        if cap is not None:
            _pass_over(warm[0], at_warm, tracks[:, :place], cap)
            _pass_over(cold[0], at_cold, tracks[:, :place], cap)
        w_track, w_score = warm[0][users, at_warm], warm[1][users, at_warm]
        c_track, c_score = cold[0][users, at_cold], cold[1][users, at_cold]
        due, may = (taken < np.floor(share * (place + 1) + 1e-9) for share in (least, most))
        better = (c_score > w_score) | ((c_score == w_score) & (c_track < w_track))
        cold_next = (c_track >= 0) & (due | (better & may) | (w_track < 0))
        tracks[:, place] = np.where(cold_next, c_track, w_track)
        scores[:, place] = np.where(cold_next, c_score, w_score)
        taken += cold_next
        at_cold = np.minimum(at_cold + cold_next, cold[0].shape[1] - 1)
        at_warm = np.minimum(at_warm + ~cold_next, warm[0].shape[1] - 1)
    return tracks, scores


def _pass_over(part: Ints, at: np.ndarray, listed: Ints, cap: Cap) -> None:
    """Move each user's place in a part's list, in place, to a track that the cap still admits, or to the end."""
    chosen = cap.artist[listed]
    chosen[listed < 0] = 0
    left = np.arange(len(at))
    while len(left):
        track = part[left, at[left]]
        artist = np.where(track >= 0, cap.artist[track], 0)
        full = (artist != 0) & ((chosen[left] == artist[:, None]).sum(axis=1) >= cap.most)
        left = left[full]
        at[left] += 1


def _with_an_end(part: List) -> List:
    """Return the list with one more empty position."""
    end = ((0, 0), (0, 1))
    return np.pad(part[0], end, constant_values=-1), np.pad(part[1], end, constant_values=-np.inf)
