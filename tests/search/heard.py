"""Make heard tracks as a search takes them."""

from __future__ import annotations

import numpy as np

from etude.search.candidates import Pairs


def pairs(lists):
    """Return the pairs of a list of tracks per user."""
    rows = np.repeat(np.arange(len(lists)), [len(tracks) for tracks in lists])
    return Pairs(rows, np.array([track for tracks in lists for track in tracks], dtype=np.int32))
