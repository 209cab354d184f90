"""Start values of a fit."""

from __future__ import annotations

import numpy as np

from etude.config.wmf import WmfSettings
from etude.hashing import uniforms

_ROWS = 8_192


def start(idx: np.ndarray, side: str, settings: WmfSettings) -> np.ndarray:
    """Return initial factors in [0, 0.01), a pure function of (wmf.seed, side, index): (n, rank) float32."""
    values = np.empty((len(idx), settings.rank), dtype=np.float32)
    columns = np.arange(settings.rank)
    for first in range(0, len(idx), _ROWS):  # in pieces: the draws take 8 bytes each and some copies
        piece = slice(first, first + _ROWS)
        values[piece] = 0.01 * uniforms(settings.seed, f"start of {side}", idx[piece, None], columns)
    return values
