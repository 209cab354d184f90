"""Hold the two inputs of a ranking: tracks that may be listed, and (user, track) pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Hold the tracks that may be recommended, by norm descending; tracks with equal factors share one vector.

    Sharing keeps ties cheap and exact. Thousands of tracks with the same factors (such as unknown artists under the
    same-artist mean) are one column of a matrix product, so its rounding can't separate them.

    Attributes:
        vectors: (V, rank) float32, distinct, by norm descending.
        norms: (V,) float64: Euclidean length of each vector.
        starts: (V + 1,) int64: vector v belongs to tracks[starts[v]:starts[v + 1]].
        tracks: (C,) int32 track indices, distinct, ascending within a vector.
        by_track: (C,) int32: positions in `tracks`, in order of ascending track index.
    """

    vectors: Floats
    norms: npt.NDArray[np.float64]
    starts: Longs
    tracks: Ints
    by_track: Ints

    def __len__(self) -> int:
        return len(self.tracks)

    @staticmethod
    def of(tracks: npt.ArrayLike, factors: npt.ArrayLike) -> Candidates:
        """Sort tracks by norm.

        Args:
            tracks: (C,) integers.
            factors: (C, rank) numbers.

        Raises:
            ValueError: lengths differ, a track occurs twice, or a factor is not finite.
        """
        idx = np.asarray(tracks, dtype=np.int32)
        rows = np.ascontiguousarray(factors, dtype=np.float32) + np.float32(0)  # makes -0 the same bytes as 0
        if rows.ndim != 2 or idx.shape != rows.shape[:1]:
            raise ValueError(f"tracks of shape {idx.shape} don't fit factors of shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("factors are not finite")
        as_bytes = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
        _, first, vector_of = np.unique(as_bytes, return_index=True, return_inverse=True)
        norms = norms_of(rows[first])
        order = np.argsort(-norms, kind="stable")
        vector_of = np.argsort(order)[vector_of]
        grouped = np.lexsort((idx, vector_of))
        by_track = np.argsort(idx[grouped], kind="stable").astype(np.int32)
        if (np.diff(idx[grouped][by_track]) == 0).any():
            raise ValueError("a track occurs twice")
        starts = np.concatenate([[0], np.cumsum(np.bincount(vector_of, minlength=len(order)))])
        return Candidates(rows[first[order]], norms[order], starts.astype(np.int64), idx[grouped], by_track)

    @cached_property
    def counts(self) -> Longs:
        """Return the number of tracks that share each vector: (V,) int64."""
        return np.diff(self.starts)

    def vector_of(self, tracks: Ints) -> Ints:
        """Return the number of each track's vector, int32 of the same shape; -1 if the track is no candidate."""
        if not len(self):
            return np.full(tracks.shape, -1, dtype=np.int32)
        ascending = self.tracks[self.by_track]
        place = np.minimum(np.searchsorted(ascending, tracks), len(self) - 1)
        vector = np.searchsorted(self.starts, self.by_track[place], side="right") - 1
        return np.where(ascending[place] == tracks, vector, -1).astype(np.int32)


@dataclass(frozen=True)
class Pairs:
    """Hold distinct (user, track) pairs of a batch of users: rows (P,) of the batch, ascending; tracks (P,)."""

    rows: Longs
    tracks: Ints

    def part(self, start: int, stop: int) -> Pairs:
        """Return the pairs of rows start..stop-1, renumbered from 0."""
        low, high = np.searchsorted(self.rows, (start, stop))
        return Pairs(self.rows[low:high] - start, self.tracks[low:high])

    def of_rows(self, rows: Longs, height: int) -> Pairs:
        """Return the pairs of some (ascending) rows out of `height`, renumbered by their position among those."""
        place = np.full(height, -1)
        place[rows] = np.arange(len(rows))
        mine = place[self.rows] >= 0
        return Pairs(place[self.rows[mine]], self.tracks[mine])

    def hold(self, rows: Longs, tracks: Ints) -> npt.NDArray[np.bool_]:
        """Return whether each (row, track), given as two (Q,) arrays, is one of the pairs."""
        return np.isin((rows << 32) + tracks, (self.rows << 32) + self.tracks)


NOTHING = Pairs(np.empty(0, np.int64), np.empty(0, np.int32))


def norms_of(rows: Floats) -> npt.NDArray[np.float64]:
    """Return the Euclidean length of each row of (N, rank): (N,) float64."""
    return np.sqrt(np.einsum("ir,ir->i", rows, rows, dtype=np.float64))
