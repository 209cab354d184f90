"""Draw small searches: users, tracks, what each user has heard, and a limit per artist."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etude.search import exact
from etude.search.cap import Cap

TRACKS = 40


def admitted(ordered, cap):
    """Pass over tracks whose artist has its number."""
    found, counts = [], {}
    for track in ordered:
        artist = int(cap.artist[track])
        if artist == 0 or counts.get(artist, 0) < cap.most:
            found.append(track)
            counts[artist] = counts.get(artist, 0) + 1
    return found


@st.composite
def problems(draw):
    cells = st.sampled_from(draw(st.sampled_from([(-1.0, 0.0, 1.0), (0.1, 0.3, -0.7, 1e-4, 3.0)])))
    rank, n_tracks = draw(st.integers(1, 3)), draw(st.integers(1, 30))
    factors = draw(hnp.arrays(np.float64, (n_tracks, rank), elements=cells)).astype(np.float32)
    users = draw(hnp.arrays(np.float64, (draw(st.integers(1, 4)), rank), elements=cells)).astype(np.float32)
    tracks = np.array(draw(st.permutations(range(TRACKS)))[:n_tracks], dtype=np.int32)
    heard = [sorted(draw(st.sets(st.integers(0, TRACKS - 1), max_size=20))) for _ in users]
    artist = draw(hnp.arrays(np.int64, TRACKS, elements=st.integers(0, draw(st.integers(0, 8)))))
    return users, tracks, factors, draw(st.integers(1, 12)), heard, Cap(artist, draw(st.integers(1, 3)))


def sorted_tracks(user, tracks, factors, skip):
    scores = np.array([exact.score(user[None], row[None, None])[0, 0] for row in factors], dtype=np.float32)
    return [int(tracks[i]) for i in np.lexsort((tracks, -scores)) if tracks[i] not in skip]
