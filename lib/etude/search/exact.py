"""Find the exact top n by inner product: tracks are searched in order of norm, so that a search can stop early.

x . y <= |x| |y|, so if |x| times the norm of the next track is below the user's n-th score, no later track can enter
the list. Factors of listening data have very skewed norms, so a search reads a few per cent of the tracks. With equal
norms it reads all blocks and is an ordinary blocked matrix product.

The score of a user and a track is the sum of products in float64 in factor order, rounded to float32. Matrix products
in float32 only select the tracks to score. Their error is bounded; if the bound leaves a user's list uncertain, the
search repeats with more room. So lists don't depend on batches or blocks. The smaller track index breaks ties.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from etude.search.candidates import NOTHING, Candidates, Floats, Ints, Longs, Pairs, norms_of
from etude.search.cap import Cap
from etude.search.merge import merge

BATCH = 512
"""Users per search: enough for a matrix product at full speed, few enough for the caches."""
_FIRST_BLOCK = 512
_LARGEST_BLOCK = 4096
_SLACK = 8
"""Tracks kept beyond n, so that float32 rounding at position n rarely needs a second search."""
_SCORED_TOGETHER = 1 << 19


def top_n(
    users: Floats, candidates: Candidates, n: int, heard: Pairs = NOTHING, cap: Cap | None = None
) -> tuple[Ints, Floats]:
    """Return the n candidates of highest x . y for each user, best first; ties by ascending track index.

    Args:
        users: (U, rank) float32, finite.
        candidates: tracks that may be listed.
        n: length of the lists.
        heard: distinct pairs that may not be listed; tracks that are no candidates are ignored.
        cap: limit of tracks per artist; None for no limit.

    Returns:
        (U, n) int32 track indices and (U, n) float32 scores; if a user has fewer candidates, the row ends with track
        -1 and score -inf.
    """
    users = np.ascontiguousarray(users, dtype=np.float32)
    tracks = np.full((len(users), n), -1, dtype=np.int32)
    scores = np.full((len(users), n), -np.inf, dtype=np.float32)
    if not len(candidates):
        return tracks, scores
    for start in range(0, len(users), BATCH):
        some = slice(start, min(start + BATCH, len(users)))
        _fill(users[some], candidates, heard.part(some.start, some.stop), cap, tracks[some], scores[some])
    return tracks, scores


def score(users: Floats, vectors: Floats) -> Floats:
    """Compute the score that defines lists: the float64 sum in factor order, rounded to float32.

    Args:
        users: (U, rank) float32.
        vectors: (U, m, rank) float32, the vectors to score for each user.

    Returns:
        (U, m) float32.
    """
    wide = np.einsum("umr,ur->um", vectors.astype(np.float64), users.astype(np.float64), optimize=False)
    return wide.astype(np.float32)


def _fill(users: Floats, candidates: Candidates, heard: Pairs, cap: Cap | None, tracks: Ints, scores: Floats) -> None:
    """Write the lists of one batch into tracks and scores."""
    n = tracks.shape[1]
    lengths = norms_of(users)
    # A float32 dot product differs from the score by at most this, for any order of summation.
    error = (users.shape[1] + 4) * 2.0**-24 * 1.01 * lengths * candidates.norms[0] + np.finfo(np.float32).tiny
    left, room = np.arange(len(users)), (n if cap is None else 2 * n) + _SLACK
    while len(left):
        room = min(room, len(candidates.vectors))
        mine = heard.of_rows(left, len(users))
        found, bound = _search(users[left], lengths[left], error[left], candidates, room, *_used_up(mine, candidates))
        scored = _scores_at(users[left], candidates, found)
        tracks[left], scores[left] = _listed(candidates, found, scored, mine, n, cap)
        # A vector outside has a float32 score of at most `bound`; rounding must not decide even a tie.
        sure = (scores[left, n - 1] > bound + error[left]) | (bound == -np.inf) | (room == len(candidates.vectors))
        left, room = left[~sure], 4 * room


def _used_up(heard: Pairs, candidates: Candidates) -> tuple[Longs, Longs]:
    """Return rows and vectors such that the user has heard every track of the vector."""
    size = len(candidates.vectors)
    codes, times = _heard_vectors(heard, candidates)
    whole = codes[times == candidates.counts[codes % size]]
    return whole // size, whole % size


def _search(
    users: Floats,
    lengths: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    candidates: Candidates,
    room: int,
    excluded_rows: Longs,
    excluded: Longs,
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Return the vectors of each user's `room` best float32 scores (U, room; -1 = none) and the worst of them (U,)."""
    best = np.full((len(users), room), -np.inf, dtype=np.float32)
    found = np.full((len(users), room), -1, dtype=np.int32)
    worst = np.full(len(users), -np.inf, dtype=np.float32)
    order = np.argsort(excluded, kind="stable")
    excluded_rows, excluded = excluded_rows[order], excluded[order]
    active, rows, row_of = np.arange(len(users)), users, np.arange(len(users))
    # One buffer for all blocks: a new one each time costs as much as the product, for the pages that the system clears.
    products = np.empty(len(users) * max(_LARGEST_BLOCK, _FIRST_BLOCK, room), np.float32)
    start, width = 0, max(_FIRST_BLOCK, room)
    while start < len(candidates.norms):
        going = lengths[active] * candidates.norms[start] * (1 + 1e-6) >= worst[active] - error[active]
        if not going.all():
            active = active[going]
            if not len(active):
                break
            rows = users[active]
            row_of = np.full(len(users), -1)
            row_of[active] = np.arange(len(active))
        stop = min(start + width, len(candidates.norms))
        block = products[: len(rows) * (stop - start)].reshape(len(rows), stop - start)
        np.matmul(rows, candidates.vectors[start:stop].T, out=block)
        low, high = np.searchsorted(excluded, (start, stop))
        at = row_of[excluded_rows[low:high]]
        block[at[at >= 0], excluded[low:high][at >= 0] - start] = -np.inf
        _keep_best(block, start, active, best, found, worst)
        start, width = stop, min(2 * width, _LARGEST_BLOCK)
    return found, worst.astype(np.float64)


def _keep_best(block: Floats, start: int, active: Longs, best: Floats, positions: Ints, worst: Floats) -> None:
    """Insert the block's scores above a user's worst kept score into best, positions and worst, in place."""
    flat = np.flatnonzero(block > worst[active, None])
    if not len(flat):
        return
    rows, columns = np.divmod(flat, block.shape[1])
    counts = np.bincount(rows, minlength=len(active))
    touched = np.flatnonzero(counts)
    slot = np.arange(len(flat)) - np.repeat(np.cumsum(counts[touched]) - counts[touched], counts[touched])
    row_of = np.empty(len(active), dtype=np.int64)
    row_of[touched] = np.arange(len(touched))
    room = best.shape[1]
    width = room + counts[touched].max()
    pool = np.full((len(touched), width), -np.inf, dtype=np.float32)
    where = np.full((len(touched), width), -1, dtype=np.int32)
    users = active[touched]
    pool[:, :room], where[:, :room] = best[users], positions[users]
    pool[row_of[rows], room + slot] = block.ravel()[flat]
    where[row_of[rows], room + slot] = start + columns
    chosen = np.argpartition(pool, width - room, axis=1)[:, width - room :]
    best[users] = np.take_along_axis(pool, chosen, axis=1)
    positions[users] = np.take_along_axis(where, chosen, axis=1)
    worst[users] = best[users].min(axis=1)


def _scores_at(users: Floats, candidates: Candidates, found: Ints) -> Floats:
    """Return the scores of the found vectors (U, m); -inf for none."""
    scores = np.empty(found.shape, dtype=np.float32)
    wide = min(found.shape[1], 1024)
    rows = max(1, _SCORED_TOGETHER // (wide * users.shape[1]))
    for row in range(0, len(users), rows):
        for column in range(0, found.shape[1], wide):
            some = np.s_[row : row + rows, column : column + wide]
            scores[some] = score(users[row : row + rows], candidates.vectors[found[some]])
    scores[found < 0] = -np.inf
    return scores


def _listed(
    candidates: Candidates, found: Ints, scores: Floats, heard: Pairs, n: int, cap: Cap | None
) -> tuple[Ints, Floats]:
    """Return the n best tracks (U, n) of the found vectors (U, m) by score, then track; -1 and -inf at short ends."""
    if len(candidates) == len(candidates.vectors):
        return merge([(np.where(found >= 0, candidates.tracks[found], np.int32(-1)), scores)], n, cap)
    if cap is None:
        return merge([_unshare(candidates, found, scores, heard, n)], n)
    return _listed_under_cap(candidates, found, scores, heard, n, cap)


def _listed_under_cap(
    candidates: Candidates, found: Ints, scores: Floats, heard: Pairs, n: int, cap: Cap
) -> tuple[Ints, Floats]:
    """Do the same where tracks share vectors, and a cap may pass over any of them.

    Only so many tracks are taken out of their vectors as fill the lists: a vector may have hundreds of thousands.
    """
    tracks = np.full((len(found), n), -1, dtype=np.int32)
    values = np.full((len(found), n), -np.inf, dtype=np.float32)
    left, wanted = np.arange(len(found)), 2 * n
    while len(left):
        wanted = min(wanted, len(candidates))
        mine = heard.of_rows(left, len(found))
        best = merge([_unshare(candidates, found[left], scores[left], mine, wanted)], wanted)
        tracks[left], values[left] = cap.cut(*best, n)
        full = (tracks[left] >= 0).all(axis=1) | (wanted == len(candidates))
        left, wanted = left[~full], 4 * wanted
    return tracks, values


def _unshare(candidates: Candidates, found: Ints, scores: Floats, heard: Pairs, n: int) -> tuple[Ints, Floats]:
    """Expand vectors (U, m) to their unheard tracks: (U, m') tracks and scores that hold the n best, unordered."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found, scores = np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)
    codes = np.arange(len(found))[:, None] * len(candidates.vectors) + found
    heard_in = _look_up(codes, *_heard_vectors(heard, candidates))
    counts = candidates.counts[found]
    reached = np.cumsum(np.where(found >= 0, counts - heard_in, 0), axis=1) >= n
    last = np.take_along_axis(scores, reached.argmax(axis=1)[:, None], axis=1)
    needed = (found >= 0) & ((scores >= last) | ~reached.any(axis=1, keepdims=True))
    # A vector's first n unheard tracks are among its first n + (number of heard ones).
    flat = np.where(needed, np.minimum(counts, n + heard_in), 0).ravel()
    within = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
    tracks = candidates.tracks[np.repeat(candidates.starts[found].ravel(), flat) + within]
    rows = np.repeat(np.arange(len(flat)) // found.shape[1], flat)
    new = ~heard.hold(rows, tracks)
    return _rectangle(rows[new], tracks[new], np.repeat(scores.ravel(), flat)[new], len(found))


def _rectangle(rows: Longs, tracks: Ints, scores: Floats, height: int) -> tuple[Ints, Floats]:
    """Arrange flat (row, track, score), rows ascending, as two (height, longest row) arrays padded with -1 and -inf."""
    lengths = np.bincount(rows, minlength=height)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wide_tracks = np.full((height, lengths.max(initial=1)), -1, dtype=np.int32)
    wide_scores = np.full(wide_tracks.shape, -np.inf, dtype=np.float32)
    wide_tracks[rows, columns], wide_scores[rows, columns] = tracks, scores
    return wide_tracks, wide_scores


def _heard_vectors(heard: Pairs, candidates: Candidates) -> tuple[Longs, Longs]:
    """Return ascending codes row * V + vector of the vectors with heard tracks, and the number of those tracks."""
    vectors = candidates.vector_of(heard.tracks)
    known = vectors >= 0
    return np.unique(heard.rows[known] * len(candidates.vectors) + vectors[known], return_counts=True)


def _look_up(codes: Longs, known: Longs, values: Longs) -> Longs:
    """Return the value of each code, 0 if it is not among the (ascending) known ones."""
    if not len(known):
        return np.zeros_like(codes)
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, values[place], 0)
