"""Show one user's id in the lake and the served list.

RAW_ID is the id as in the log; the lake holds its HMAC if ETUDE_USER_KEY was set. A - reads the id from standard input,
which keeps it out of the shell's history.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from etude.cli._aligned import aligned, text_of
from etude.cli._lake import add_lake_options, settings_of, show
from etude.errors import InputMissingError
from etude.lake import releases
from etude.lake.lake import Lake, open_lake
from etude.pseudonym import KEY_VARIABLE, lake_user_id

_LISTS = ("recommendations", "repeats")


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "user", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "raw_id", metavar="RAW_ID", help="the user's id in the log, or - to read it from standard input"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="largest number of positions (default: 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the user's ids and list.

    Raises:
        InputMissingError: the lake knows no such user.
    """
    with open_lake(settings_of(args)) as lake:
        found = look_up(lake, given_id(args.raw_id), args.limit)
    show(found, as_lines, args.json)
    return 0


def look_up(lake: Lake, raw_id: str, limit: int) -> dict[str, Any]:
    """Return the user's ids, number of tracks played, and the first positions of the served lists.

    Raises:
        InputMissingError: the lake knows no such user; the message doesn't repeat the id.
    """
    user = user_of(lake, raw_id)
    index = user["user_idx"]
    release = releases.current(lake)
    run_id = release.run_ids.get("recommendations") if release else None
    return {
        "user_id": user["user_id"],
        "user_idx": index,
        "tracks_played": lake.count("interactions", user_idx=index),
        "run_id": run_id,
        "release": release.release if release else None,
        "since": release.since if release else None,
        **{table: _places(lake, table, run_id, index, limit) if run_id else [] for table in _LISTS},
    }


def user_of(lake: Lake, raw_id: str) -> dict[str, Any]:
    """Return the row of `users` of a user, by the id in the log.

    Raises:
        InputMissingError: the lake knows no such user; the message doesn't repeat the id.
    """
    rows = lake.look("users", user_id=lake_user_id(raw_id))
    if not rows:
        how = (
            "is set, so its HMAC was searched" if os.environ.get(KEY_VARIABLE) else "is not set, so the id was searched"
        )
        raise InputMissingError(f"no such user in the lake ({KEY_VARIABLE} {how}); expected an id as in the log")
    return rows[0]


def given_id(argument: str) -> str:
    """Return a user's id as given on the command line; - reads it from standard input."""
    return sys.stdin.readline().rstrip("\r\n") if argument == "-" else argument


def _places(lake: Lake, table: str, run_id: str, user_idx: int, limit: int) -> list[dict[str, Any]]:
    names = ("position", "track_id", "score", "source")
    rows = lake.look(table, names, run_id=run_id, user_idx=user_idx)
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: row["position"])[:limit]
    wanted = [row["track_id"] for row in rows]
    titles = {
        row["track_id"]: row for row in lake.look("tracks", ("track_id", "title", "artist_name"), track_id=wanted)
    }
    unknown = {"title": None, "artist_name": None}
    return [
        {**row, **{name: titles.get(row["track_id"], unknown)[name] for name in ("title", "artist_name")}}
        for row in rows
    ]


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the user for a terminal."""
    yield f"id in the lake  {found['user_id']}"
    yield f"user_idx        {found['user_idx']}"
    yield f"tracks played   {found['tracks_played']}"
    if found["run_id"] is None:
        yield "list            none: no run with evaluation.protocol=none has been published yet"
        return
    yield f"list            run {found['run_id']}, served since {text_of(found['since'])} UTC"
    if not found["recommendations"]:
        yield "                has no rows for this user"
        return
    columns = ("position", "title", "artist_name", "track_id", "source", "score")
    for table in _LISTS:
        if found[table]:
            yield ""
            if table == "repeats":
                yield "heard before, best now:"
            yield aligned(columns, [[row[name] for name in columns] for row in found[table]], widest=44)
