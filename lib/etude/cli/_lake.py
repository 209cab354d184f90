"""What the sub-commands that look into the lake share: which lake, and which settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from etude.config import Settings, load_settings

_SETTING = re.compile(r"[a-z]\w*(\.\w+)+=")


def add_lake_options(parser: argparse.ArgumentParser) -> None:
    """--lake, --config and section.key=value, the latter anywhere on the line."""
    parser.add_argument("--lake", metavar="ROOT", help="path or URI of the lake (default: lake.root)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML layer; repeatable")
    parser.epilog = "section.key=value: settings, as jobs take them"
    parse = parser.parse_known_args

    def take_settings_out(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Argparse wants all positional arguments together; settings may stand between and after options."""
        words = list(args or ())
        overrides = [word for word in words if _SETTING.match(word)]
        found, rest = parse([word for word in words if not _SETTING.match(word)], namespace)
        found.overrides = overrides
        return found, rest

    parser.parse_known_args = take_settings_out  # type: ignore[method-assign, assignment]


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options give.

    Raises:
        SettingsError: one is wrong.
    """
    settings = load_settings(args.config, args.overrides)
    if args.lake is None:
        return settings
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"root": args.lake})})
