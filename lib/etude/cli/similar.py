"""List the tracks that are nearest to a track, by the factors that are served.

Nearness is the cosine of two tracks' factors. They are blended ones if the release has any, so that tracks without
plays are found too. Otherwise they are fitted ones, and predicted ones of the other tracks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of, show
from etude.cli._served import NAMES, named, place_of, served_factors, served_release, track_of
from etude.lake.lake import Lake, open_lake
from etude.vectors import Factors

_SPARE = 20
"""Nearest rows looked up beyond those asked for: some may be aliases, which have factors in older fits."""


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "similar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("track_id", metavar="TRACK_ID", help="the track's id; an alias stands for its track")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="largest number of tracks (default: 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the track and those nearest to it.

    Raises:
        InputMissingError: the lake knows no such track, or serves no factors of it.
    """
    with open_lake(settings_of(args)) as lake:
        found = look_up(lake, args.track_id, args.limit)
    show(found, as_lines, args.json)
    return 0


def look_up(lake: Lake, track_id: str, limit: int) -> dict[str, Any]:
    """Return the track, the release, and the nearest tracks, each with its similarity (cosine, -1 to 1) and names.

    Raises:
        InputMissingError: the lake knows no such track, or serves no factors of it.
    """
    track = track_of(lake, track_id)
    release = served_release(lake)
    factors = served_factors(lake, release.run_ids)
    nearest, cosines = similar(factors, place_of(factors, track, release), limit + _SPARE)
    names = {
        row["track_idx"]: row
        for row in lake.look("tracks", (*NAMES, "track_idx", "alias_of"), track_idx=nearest.tolist())
        if row["alias_of"] is None
    }
    rows = [
        {"similarity": float(cosine), **{name: names[idx][name] for name in NAMES}}
        for idx, cosine in zip(nearest.tolist(), cosines, strict=True)
        if idx in names
    ]
    return {**{name: track[name] for name in NAMES}, "release": release.release, "similar": rows[:limit]}


def similar(factors: Factors, place: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tracks nearest to the one in a row: their indices and cosines, the nearest first.

    Ties go to the smaller index. A track whose factors are all zero has no direction, so its cosine is 0.
    """
    lengths = np.linalg.norm(factors.values, axis=1)
    divisors = lengths * lengths[place]
    products = factors.values @ factors.values[place]
    cosines = np.divide(products, divisors, out=np.zeros_like(products), where=divisors > 0)
    cosines[place] = -np.inf
    kept = min(limit, len(factors) - 1)
    best = np.lexsort((factors.idx, -cosines))[:kept]
    return factors.idx[best], cosines[best]


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the track and its neighbours for a terminal."""
    yield f"track    {named(found)}"
    yield f"release  {found['release']}"
    yield ""
    columns = ("similarity", *NAMES)
    yield aligned(columns, [[row[name] for name in columns] for row in found["similar"]], widest=44)
