"""Explain why a track has its score for a user: which of the user's plays carry it, and how much of it is content.

The score is a sum over the tracks that the user has played. RAW_ID is the user's id as in the log; a - reads it from
standard input. The command reads the newest interactions: if they have changed since the fit, or if the fit stopped
before it converged, the parts don't add up to the score, and the difference is shown as the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from etude import fitting
from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of, show
from etude.cli._served import NAMES, factors_of, named, place_of, served_factors, served_release, track_of
from etude.cli.user import given_id, user_of
from etude.config.wmf import WmfSettings
from etude.errors import InputMissingError
from etude.factors.explanation import content_part, parts_of_score
from etude.factors.objective import extra_confidence, gram, row_regularization
from etude.lake import ledger
from etude.lake.lake import Lake, open_lake
from etude.lake.releases import Release
from etude.vectors import Factors

_MOST_MB = 1024
"""Most users' factors that are read; of more, the part of content is not computed."""


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "raw_id", metavar="RAW_ID", help="the user's id in the log, or - to read it from standard input"
    )
    parser.add_argument("track_id", metavar="TRACK_ID", help="the track's id; an alias stands for its track")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="largest number of plays (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the score and what carries it.

    Raises:
        InputMissingError: the lake knows no such user or track, or serves no factors of it.
    """
    with open_lake(settings_of(args)) as lake:
        found = look_up(lake, given_id(args.raw_id), args.track_id, args.limit)
    show(found, as_lines, args.json)
    return 0


def look_up(lake: Lake, raw_id: str, track_id: str, limit: int) -> dict[str, Any]:
    """Return the score, the part of content, and the plays with the largest parts.

    Raises:
        InputMissingError: the lake knows no such user or track, or serves no factors of it.
    """
    user, track, release = user_of(lake, raw_id), track_of(lake, track_id), served_release(lake)
    factors = served_factors(lake, release.run_ids)
    y = factors.values[place_of(factors, track, release)].astype(np.float64)
    x = _factors_of_user(lake, release, user["user_idx"])
    settings, fitted = (
        _fit(lake, release),
        factors_of(lake, "track_factors", release.run_ids, origin=["fit", "fold_in"]),
    )
    idx, counts = _plays(lake, "track_idx", user_idx=user["user_idx"])
    known = np.isin(idx, fitted.idx)
    idx, counts = idx[known], counts[known]
    parts = parts_of_score(
        y,
        fitted.values[np.searchsorted(fitted.idx, idx)].astype(np.float64),
        extra_confidence(counts, settings).astype(np.float64),
        gram(fitted.values),
        row_regularization(np.array([len(idx)]), settings)[0],
    )
    score = float(x @ y)
    listeners, content = _content(lake, release, settings, fitted, track["track_idx"], x, score)
    return {
        "user_idx": user["user_idx"],
        **{name: track[name] for name in NAMES},
        "release": release.release,
        "score": score,
        "listeners": listeners,
        "content": content,
        "rest": score - float(parts.sum()),
        "plays": _named(lake, idx, counts, parts, limit),
    }


def _factors_of_user(lake: Lake, release: Release, user_idx: int) -> np.ndarray:
    rows = lake.look("user_factors", ("factors",), run_id=release.run_ids["user_factors"], user_idx=user_idx)
    if not rows:
        raise InputMissingError(
            f"the user has no factors in release {release.release}, so the list holds popular tracks; expected a user "
            "whose plays the fit has read"
        )
    return np.array(rows[0]["factors"], np.float64)


def _fit(lake: Lake, release: Release) -> WmfSettings:
    return fitting.fitted_with(lake, ledger.graph(lake), release.run_ids["user_factors"])


def _plays(lake: Lake, column: str, **equals: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of tracks or users of some interactions, ascending, and their play counts."""
    rows = lake.arrow("interactions", (column, "play_count"), **equals)
    order = np.argsort(rows[column].to_numpy())
    return rows[column].to_numpy()[order], rows["play_count"].to_numpy()[order]


def _content(
    lake: Lake, release: Release, settings: WmfSettings, fitted: Factors, track_idx: int, x: np.ndarray, score: float
) -> tuple[int | None, float | None]:
    """Return the listeners that a track's blended factors rest on, and the part of the score that content gives."""
    run_ids = release.run_ids
    if "blended_track_factors" not in run_ids:
        return None, 0.0 if track_idx in fitted.idx else score
    (row,) = lake.look(
        "blended_track_factors", ("listeners",), run_id=run_ids["blended_track_factors"], track_idx=track_idx
    )
    if row["listeners"] == 0:
        return 0, score
    if lake.count("user_factors", run_id=run_ids["user_factors"]) * fitted.rank * 4 > _MOST_MB * 2**20:
        return row["listeners"], None
    rows = lake.arrow("user_factors", ("user_idx", "factors"), run_id=run_ids["user_factors"])
    users = Factors.from_table(rows, "user_idx", fitted.rank)
    idx, counts = _plays(lake, "user_idx", track_idx=track_idx)
    known = np.isin(idx, users.idx)
    choice = _choice(lake, run_ids["blended_track_factors"])
    predicted = lake.look("predicted_factors", ("factors",), run_id=run_ids["predicted_factors"], track_idx=track_idx)
    g = np.array(predicted[0]["factors"]) if predicted else fitted.values.mean(axis=0)
    return row["listeners"], content_part(
        x,
        choice["played_length"] * g.astype(np.float64),
        choice["weight"] * settings.regularization,
        users.values[np.searchsorted(users.idx, idx[known])].astype(np.float64),
        extra_confidence(counts[known], settings).astype(np.float64),
        gram(users.values),
        row_regularization(np.array([known.sum()]), settings)[0],
    )


def _choice(lake: Lake, run_id: str) -> dict[str, float]:
    run = ledger.find(lake, "blend", run_id)
    assert run is not None  # a release names runs that have succeeded
    return dict(run.facts["choice"])


def _named(lake: Lake, idx: np.ndarray, counts: np.ndarray, parts: np.ndarray, limit: int) -> list[dict[str, Any]]:
    largest = np.lexsort((idx, -parts))[:limit]
    wanted = idx[largest].tolist()
    names = {row["track_idx"]: row for row in lake.look("tracks", (*NAMES, "track_idx"), track_idx=wanted)}
    return [
        {"part": float(parts[place]), "play_count": int(counts[place]), **{name: names[track][name] for name in NAMES}}
        for place, track in zip(largest.tolist(), wanted, strict=True)
    ]


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the explanation for a terminal."""
    yield f"track      {named(found)}"
    yield f"score      {found['score']:.4f} for user_idx {found['user_idx']}, release {found['release']}"
    if found["content"] is not None:
        yield f"content    {found['content']:.4f} of the score"
    if found["listeners"] is not None:
        yield f"listeners  {found['listeners']}"
    yield f"rest       {found['rest']:.4f}: score less the parts of all plays"
    yield ""
    columns = ("part", "play_count", *NAMES)
    yield aligned(columns, [[row[name] for name in columns] for row in found["plays"]], widest=44)
