"""Find the exact top n by inner product among tracks that are named for each user, such as those heard."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from etude.search.candidates import Candidates, Floats, Longs, Pairs
from etude.search.cap import Cap, earlier_equals
from etude.search.exact import score
from etude.search.merge import List

_SCORED_TOGETHER = 4096


def top_n_among(users: Floats, parts: Iterable[Candidates], pairs: Pairs, n: int, cap: Cap | None = None) -> List:
    """Return the n named candidates of highest x . y for each user, as `top_n` does.

    Args:
        users: (U, rank) float32, finite.
        parts: disjoint sets of tracks that may be listed.
        pairs: distinct pairs of user and named track; tracks that are no candidates are ignored.
        n: length of the lists.
        cap: limit of tracks per artist; None for no limit.
    """
    tracks = np.full((len(users), n), -1, dtype=np.int32)
    scores = np.full((len(users), n), -np.inf, dtype=np.float32)
    found = [_scored(users, part, pairs) for part in parts]
    if not found:
        return tracks, scores
    row, track, value = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((track, -value, row))
    row, track, value = row[order], track[order], value[order]
    if cap is not None:
        artist = cap.artist[track]
        codes = np.unique(np.stack([row, artist], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        kept = (artist == 0) | (earlier_equals(codes[None])[0] < cap.most)
        row, track, value = row[kept], track[kept], value[kept]
    place = earlier_equals(row[None])[0]
    listed = place < n
    tracks[row[listed], place[listed]] = track[listed]
    scores[row[listed], place[listed]] = value[listed]
    return tracks, scores


def _scored(users: Floats, candidates: Candidates, pairs: Pairs) -> tuple[Longs, np.ndarray, Floats]:
    """Return row, track and score of the pairs whose track is a candidate."""
    vector = candidates.vector_of(pairs.tracks)
    mine = vector >= 0
    row, vector = pairs.rows[mine], vector[mine]
    scores = np.empty(len(row), np.float32)
    for first in range(0, len(row), _SCORED_TOGETHER):
        some = slice(first, first + _SCORED_TOGETHER)
        scores[some] = score(users[row[some]], candidates.vectors[vector[some]][:, None])[:, 0]
    return row, pairs.tracks[mine], scores
