"""Make the synthetic conservatoire: audio, catalogue and listening log with a planted structure.

The corpus appears at OUT in one step when it is complete. If the same corpus is already at OUT, the command does
nothing. A corpus of other settings or of an earlier Etude is replaced. demo.key=value arguments set the share of taste
that each source explains, the planted faults, the log format and more; they may stand anywhere on the line.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from etude.cli._settings import take_settings
from etude.config import load_settings, settings_help
from etude.demo.corpus import build


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `demo-corpus` and its arguments."""
    parser = subparsers.add_parser(
        "demo-corpus",
        help="make the synthetic conservatoire",
        description=__doc__,
        epilog="settings:\n" + settings_help(["demo"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name in ("users", "tracks", "events", "seed"):
        parser.add_argument(f"--{name}", type=int, help=f"the same as demo.{name}=")
    parser.add_argument("--no-audio", action="store_true", help="write catalogue, log and truth only")
    parser.add_argument("--force", action="store_true", help="replace the corpus even if it is the same")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML settings; may be repeated")
    parser.add_argument("out", metavar="OUT", type=Path, help="the corpus's folder")
    take_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Make the corpus, print one JSON line, and return 0.

    Raises:
        SettingsError: a setting is invalid, or OUT holds something other than a corpus.
    """
    flags = {name: getattr(args, name) for name in ("users", "tracks", "events", "seed")}
    overrides = [*args.overrides, *(f"demo.{name}={value}" for name, value in flags.items() if value is not None)]
    if args.no_audio:
        overrides.append("demo.audio=false")
    settings = load_settings(args.config, overrides).demo
    started = time.monotonic()
    made = build(args.out, settings, force=args.force)
    expected = json.loads((args.out / "expected.json").read_text())
    line = {
        "command": "demo-corpus",
        "status": "made" if made else "already there",
        "seconds": round(time.monotonic() - started, 3),
        "plays": expected["plays"]["rows"],
        "audio": expected.get("audio", {}).get("listed", 0),
        "where": str(args.out),
    }
    print(json.dumps(line))
    return 0
