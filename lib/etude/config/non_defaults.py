"""Find the settings of a run that differ from the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etude.config.load import Settings


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (`section.key`, value) for every leaf; a list is a leaf."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def non_defaults(settings: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, value, default) of each setting that differs from the current default, in order of the sections.

    `settings` comes from the run ledger. The default is None for a key that no longer exists.
    """
    defaults = dict(flatten(Settings().model_dump(mode="json")))
    return [(key, value, defaults.get(key)) for key, value in flatten(settings) if value != defaults.get(key)]
