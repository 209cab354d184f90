"""Limit how many tracks of one artist a list holds.

The best list under the limit takes tracks by score, and passes over those whose artist has its number already (the
greedy choice is best, since the lists that keep to the limit form a partition matroid).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etude.search.candidates import Floats, Ints, Longs, Pairs


@dataclass(frozen=True)
class Cap:
    """Hold the limit.

    Attributes:
        artist: (T,) int64 by track index, the same number for the same artist; 0 = unknown, which isn't limited.
        most: tracks of an artist in a list.
    """

    artist: Longs
    most: int

    def cut(self, tracks: Ints, scores: Floats, n: int) -> tuple[Ints, Floats]:
        """Return the first n tracks that the limit admits of each list (U, m), best first, -1 and -inf at the end."""
        kept = (tracks >= 0) & ((self.artist[tracks] == 0) | (earlier_equals(self.artist[tracks]) < self.most))
        order = np.argsort(~kept, axis=1, kind="stable")[:, :n]
        kept = np.take_along_axis(kept, order, axis=1)
        missing = ((0, 0), (0, n - order.shape[1]))
        tracks = np.where(kept, np.take_along_axis(tracks, order, axis=1), np.int32(-1))
        scores = np.where(kept, np.take_along_axis(scores, order, axis=1), np.float32(-np.inf))
        return np.pad(tracks, missing, constant_values=-1), np.pad(scores, missing, constant_values=-np.inf)

    def room(self, listable: npt.NDArray[np.bool_], heard: Pairs, users: int) -> Longs:
        """Return the length of the longest list of each user: (U,) int64.

        Args:
            listable: (T,) whether a track can be listed.
            heard: pairs that may not be.
            users: number of users.
        """
        of_artist = np.unique(self.artist[listable], return_counts=True)
        limited = of_artist[0] != 0
        every = int(np.where(limited, np.minimum(of_artist[1], self.most), of_artist[1]).sum())
        rows, artists = heard.rows[listable[heard.tracks]], self.artist[heard.tracks[listable[heard.tracks]]]
        place = np.searchsorted(of_artist[0], artists)
        codes, times = np.unique(rows * max(1, len(of_artist[0])) + place, return_counts=True)
        rows, place = np.divmod(codes, max(1, len(of_artist[0])))
        there = of_artist[1][place]
        left = there - times
        lost = np.where(limited[place], np.minimum(there, self.most) - np.minimum(left, self.most), times)
        return every - np.bincount(rows, weights=lost, minlength=users).astype(np.int64)


def earlier_equals(artists: Longs) -> Longs:
    """Return for each entry of (U, m) how many entries before it in its row are equal."""
    order = np.argsort(artists, axis=1, kind="stable")
    ascending = np.take_along_axis(artists, order, axis=1)
    places = np.broadcast_to(np.arange(artists.shape[1]), artists.shape)
    new = np.ones(artists.shape, dtype=bool)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    counted = places - np.maximum.accumulate(np.where(new, places, 0), axis=1)
    found = np.empty_like(counted)
    np.put_along_axis(found, order, counted, axis=1)
    return found
