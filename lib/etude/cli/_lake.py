"""Add the options that all commands on a lake share, and load their settings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

from etude.cli._settings import take_settings
from etude.config import Settings, load_settings
from etude.lake import folders


def add_lake_options(parser: argparse.ArgumentParser) -> None:
    """Add --lake, --config and section.key=value, the last anywhere on the line."""
    parser.add_argument("--lake", metavar="ROOT", help="path or URI of the lake (default: lake.root)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML layer; repeatable")
    take_settings(parser)


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings that the options give.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = load_settings(args.config, args.overrides)
    if args.lake is not None:
        settings = settings.model_copy(update={"lake": settings.lake.model_copy(update={"root": args.lake})})
    folders.check_root(settings.lake.root)
    return settings


def show(found: dict[str, Any], as_lines: Callable[[dict[str, Any]], Iterator[str]], as_json: bool) -> None:
    """Print what a command has found, as one JSON object or as lines for a terminal."""
    print(json.dumps(found, default=str, ensure_ascii=False) if as_json else "\n".join(as_lines(found)))
