"""Accept settings on the command line of a sub-command; import the standard library only."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

SECTIONS = (
    "lake", "spark", "inputs", "evaluation", "demo", "listening", "catalogue", "audio", "mel", "wmf", "train", "blend",
    "topn", "report", "pipeline", "compare", "tune",
)  # fmt: skip
"""The names of the sections; a user's id may hold dots and signs like a setting."""

_SETTING = re.compile(rf"({'|'.join(SECTIONS)})(\.\w+)+=")


def take_settings(parser: argparse.ArgumentParser) -> None:
    """Accept section.key=value anywhere on the command line; the parsed arguments hold them as `overrides`."""
    parser.epilog = parser.epilog or "section.key=value: settings, as jobs take them"
    parse = parser.parse_known_args

    def take_settings_out(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Take the settings out first: argparse needs all positional arguments side by side."""
        words = list(args or ())
        overrides = [word for word in words if _SETTING.match(word)]
        found, rest = parse([word for word in words if not _SETTING.match(word)], namespace)
        found.overrides = overrides
        return found, rest

    parser.parse_known_args = take_settings_out  # type: ignore[method-assign, assignment]
