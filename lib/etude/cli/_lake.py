"""What the sub-commands that look into the lake share: which lake, and which settings."""

from __future__ import annotations

import argparse

from etude.cli._settings import take_settings
from etude.config import Settings, load_settings


def add_lake_options(parser: argparse.ArgumentParser) -> None:
    """--lake, --config and section.key=value, the latter anywhere on the line."""
    parser.add_argument("--lake", metavar="ROOT", help="path or URI of the lake (default: lake.root)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML layer; repeatable")
    take_settings(parser)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options give.

    Raises:
        SettingsError: one is wrong.
    """
    settings = load_settings(args.config, args.overrides)
    if args.lake is None:
        return settings
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"root": args.lake})})
