"""A fit is rotated onto the basis of an earlier one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense import sorted_pandas

from etude.factors.basis import alignment, onto
from etude.factors.fit import Earlier, Fit

RANK = 5
RANDOM = np.random.default_rng(0)
TRACKS, USERS = RANDOM.standard_normal((40, RANK)), RANDOM.standard_normal((30, RANK))


def frame(frame_of, column, values, first=0):
    rows = pd.DataFrame({column: range(first, first + len(values)), "factors": [list(map(float, v)) for v in values]})
    return frame_of(rows, 3).selectExpr(f"cast({column} as int) {column}", "cast(factors as array<float>) factors")


def rotation(seed=1):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((RANK, RANK)))[0]


def test_a_rotated_fit_is_turned_back(frame_of):
    """The five tracks and users that the earlier fit lacks too."""
    turn = rotation()
    before = Earlier(frame(frame_of, "user_idx", USERS[5:], 5), frame(frame_of, "track_idx", TRACKS[5:], 5), "before")
    now = Fit(frame(frame_of, "user_idx", USERS @ turn), frame(frame_of, "track_idx", TRACKS @ turn), [(1, 2.0)])
    fitted, found = onto(now, before, RANK)
    assert found.tracks == 35
    assert found.rotation == pytest.approx(turn.T, abs=1e-6)
    assert found.residual < 1e-3  # a difference of numbers in float32
    assert found.drift == pytest.approx(
        np.linalg.norm(TRACKS[5:] @ turn - TRACKS[5:]) / np.linalg.norm(TRACKS[5:]), rel=1e-5
    )
    assert fitted.losses == [(1, 2.0)]
    for rows, expected in ((fitted.users, USERS), (fitted.tracks, TRACKS)):
        assert rows.dtypes[1] == ("factors", "array<float>")
        assert np.stack(sorted_pandas(rows).factors.to_numpy()) == pytest.approx(expected, abs=1e-5)


def test_the_residual_is_what_no_rotation_removes(frame_of):
    moved = (TRACKS + 0.1 * RANDOM.standard_normal(TRACKS.shape)) @ rotation()
    found = alignment(frame(frame_of, "track_idx", moved), frame(frame_of, "track_idx", TRACKS), RANK)
    assert np.eye(RANK) == pytest.approx(found.rotation @ found.rotation.T, abs=1e-9)
    here = np.linalg.norm(moved @ found.rotation - TRACKS)
    assert found.residual == pytest.approx(here / np.linalg.norm(TRACKS), rel=1e-5)
    others = [found.rotation @ (np.eye(RANK) + 0.01 * (turn - turn.T)) for turn in map(rotation, range(10))]
    assert all(np.linalg.norm(moved @ np.linalg.qr(other)[0] - TRACKS) > here for other in others)


def test_directions_without_a_common_track_stay(frame_of):
    one = np.array([[2.0, 0, 0, 0, 0]])
    found = alignment(frame(frame_of, "track_idx", one), frame(frame_of, "track_idx", one), RANK)
    assert found.rotation == pytest.approx(np.eye(RANK), abs=1e-6)
    none = alignment(frame(frame_of, "track_idx", one), frame(frame_of, "track_idx", one, 1), RANK)
    assert (none.tracks, none.drift, none.residual) == (0, 0.0, 0.0)
    assert (none.rotation == np.eye(RANK)).all()
