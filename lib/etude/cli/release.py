"""List the releases, publish a run, or roll back to an earlier release.

`promote` publishes a topn run and its upstream runs. `rollback` publishes the runs of an earlier release again; without
a number, those of the release before the current one. Both first check that the run succeeded under protocol none, that
no run it builds on has run again since, and that all its rows are in the lake. If a check fails, they exit with status
3 (no such run or release) or 4 and name the cause; the current release stays.
"""

from __future__ import annotations

import argparse
import getpass
import json
from typing import Any

from etude.cli._aligned import aligned
from etude.cli._lake import add_lake_options, settings_of
from etude.errors import SettingsError
from etude.lake import releases
from etude.lake.lake import open_lake
from etude.lake.releases import Release


def add_parser(subparsers: Any) -> None:
    """Describe the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "action",
        choices=("list", "promote", "rollback"),
        help="list releases, publish a run, or publish an earlier release again",
    )
    parser.add_argument(
        "which", nargs="?", metavar="RUN_ID | RELEASE", help="promote: the topn run; rollback: the release"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per release")
    add_lake_options(parser)


def run(args: argparse.Namespace) -> int:
    """List, promote or roll back.

    Raises:
        SettingsError: an argument is missing or superfluous.
        InputMissingError: there is no such lake, run or release.
        DataCheckError: the run may not be published.
    """
    number = _checked(args)
    settings = settings_of(args)
    if args.action == "list":
        with open_lake(settings) as lake:
            found = releases.releases(lake)
    else:
        by, timeout_s = f"etude release ({getpass.getuser()})", settings.lake.lease_timeout_s
        with open_lake(settings, to_write=True) as lake:
            if args.action == "promote":
                found = [releases.promote(lake, args.which, by, timeout_s)]
            else:
                found = [releases.rollback(lake, number, by, timeout_s)]
    print("\n".join(json.dumps(vars(each), default=str) for each in found) if args.json else as_text(found))
    return 0


def _checked(args: argparse.Namespace) -> int | None:
    """Return the number of the release to roll back to, if one is given.

    Raises:
        SettingsError: an argument is missing or unexpected.
    """
    if (args.action == "promote") != (args.which is not None) and args.action != "rollback":
        needed = "the run_id of a topn run" if args.action == "promote" else "no further argument"
        raise SettingsError(f"etude release {args.action}: expected {needed}")
    if args.action != "rollback" or args.which is None:
        return None
    if not args.which.isdigit():
        raise SettingsError(f"etude release rollback {args.which}: expected a number of `etude release list`")
    return int(args.which)


def as_text(found: list[Release]) -> str:
    """Return the releases as lines."""
    if not found:
        return "no releases: only topn runs with evaluation.protocol=none are published"
    columns = ("release", "since (UTC)", "runs", "published by", "previous", "reason")
    lines = [
        (
            each.release,
            each.since,
            ", ".join(f"{job} {run_id}" for job, run_id in each.runs().items()),
            each.published_by,
            each.previous,
            each.reason,
        )
        for each in found
    ]
    return aligned(columns, lines)
