"""Make small interactions, and compute the objective over a dense matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd

from etude.config.wmf import WmfSettings


def small_interactions(users: int = 60, tracks: int = 40, share: float = 0.15, seed: int = 0) -> pd.DataFrame:
    """Return random interactions over scattered indices; every user and track has at least one."""
    random = np.random.default_rng(seed)
    played = random.random((users, tracks)) < share
    played[np.arange(users), random.integers(0, tracks, users)] = True
    played[random.integers(0, users, tracks), np.arange(tracks)] = True
    user, track = played.nonzero()
    return pd.DataFrame(
        {
            "user_idx": (user * 3 + 1).astype("int32"),  # with unused indices between
            "track_idx": (track * 2).astype("int32"),
            "play_count": random.geometric(0.4, len(user)),
        }
    )


def dense_loss(interactions: pd.DataFrame, users, tracks, settings: WmfSettings) -> float:
    """Return the objective, cell by cell; users and tracks are pandas frames of (idx, factors)."""
    x = np.stack(users.factors.to_numpy()).astype(np.float64)
    y = np.stack(tracks.factors.to_numpy()).astype(np.float64)
    r = (
        interactions.pivot_table(index="user_idx", columns="track_idx", values="play_count", fill_value=0)
        .reindex(index=users.iloc[:, 0], columns=tracks.iloc[:, 0], fill_value=0)
        .to_numpy()
        .astype(np.float64)
    )
    grow = r if settings.confidence == "linear" else np.log1p(r / settings.epsilon)
    cells = ((1 + settings.alpha * grow) * ((r > 0) - x @ y.T) ** 2).sum()
    per_user, per_track = np.ones(len(x)), np.ones(len(y))
    if settings.regularization_scaling == "frequency":
        per_user, per_track = (r > 0).sum(axis=1), (r > 0).sum(axis=0)
    norms = per_user @ (x**2).sum(axis=1) + per_track @ (y**2).sum(axis=1)
    return float(cells + settings.regularization * norms)


def sorted_pandas(frame) -> pd.DataFrame:
    """Return a frame of factors as pandas, by ascending index."""
    return frame.toPandas().sort_values(frame.columns[0]).reset_index(drop=True)
