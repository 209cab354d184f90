"""Settings on the line of a sub-command; imports nothing that has to be installed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

_SETTING = re.compile(r"[a-z]\w*(\.\w+)+=")


def take_settings(parser: argparse.ArgumentParser) -> None:
    """Let section.key=value stand anywhere on the command's line: they become `overrides`."""
    parser.epilog = parser.epilog or "section.key=value: settings, as jobs take them"
    parse = parser.parse_known_args

    def take_settings_out(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Argparse wants all positional arguments together; settings may stand between and after options."""
        words = list(args or ())
        overrides = [word for word in words if _SETTING.match(word)]
        found, rest = parse([word for word in words if not _SETTING.match(word)], namespace)
        found.overrides = overrides
        return found, rest

    parser.parse_known_args = take_settings_out  # type: ignore[method-assign, assignment]
