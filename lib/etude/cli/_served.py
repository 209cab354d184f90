"""Look up what a release serves: tracks, and their factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from etude.errors import InputMissingError
from etude.lake import releases
from etude.lake.lake import Lake
from etude.lake.releases import Release
from etude.vectors import Factors

NAMES = ("title", "artist_name", "track_id")


def named(track: dict[str, Any]) -> str:
    """Return a track's id, and its title and artist if they are known."""
    names = " by ".join(name for name in (track["title"], track["artist_name"]) if name)
    return f"{track['track_id']}{', ' + names if names else ''}"


def served_release(lake: Lake) -> Release:
    """Return the current release.

    Raises:
        InputMissingError: there is none.
    """
    release = releases.current(lake)
    if release is None:
        raise InputMissingError("no factors are served yet: no run with evaluation.protocol=none has been published")
    return release


def place_of(factors: Factors, track: dict[str, Any], release: Release) -> int:
    """Return the row of a track among served factors.

    Raises:
        InputMissingError: it has none.
    """
    place = np.flatnonzero(factors.idx == track["track_idx"])
    if not len(place):
        raise InputMissingError(
            f"track {track['track_id']} has no factors in release {release.release}: nobody played it by then, and "
            "nothing predicted them from its content"
        )
    return int(place[0])


def track_of(lake: Lake, track_id: str) -> dict[str, Any]:
    """Return a track's row; for an alias, that of its track.

    Raises:
        InputMissingError: the lake knows no such track.
    """
    rows = lake.look("tracks", (*NAMES, "track_idx", "alias_of"), track_id=track_id)
    if not rows:
        raise InputMissingError(f"no track {track_id!r} in the lake; expected an id of the table tracks")
    return rows[0] if rows[0]["alias_of"] is None else track_of(lake, rows[0]["alias_of"])


def served_factors(lake: Lake, run_ids: dict[str, str]) -> Factors:
    """Return the factors that a release serves, by track_idx."""
    if "blended_track_factors" in run_ids:
        return factors_of(lake, "blended_track_factors", run_ids)
    fitted = factors_of(lake, "track_factors", run_ids, origin=["fit", "fold_in"])
    if "predicted_factors" not in run_ids:
        return fitted
    predicted = factors_of(lake, "predicted_factors", run_ids, fitted.rank)
    return fitted.union(predicted.where(~np.isin(predicted.idx, fitted.idx)))


def factors_of(lake: Lake, table: str, run_ids: dict[str, str], rank: int | None = None, **equals: Any) -> Factors:
    """Return the factors of a table's run that a release serves, by track_idx."""
    rows = lake.arrow(table, ("track_idx", "factors"), run_id=run_ids[table], **equals)
    return Factors.from_table(rows, "track_idx", rank)
