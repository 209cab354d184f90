"""What a run's settings have that isn't the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etude.config.load import Settings


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`section.key`, value of every leaf; a list is a leaf."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def non_defaults(settings: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value, default) of each setting that differs from today's default, in order of the sections.

    `settings` is what the run ledger holds. A key that settings no longer have has the default None.
    """
    defaults = dict(flatten(Settings().model_dump(mode="json")))
    return [(key, value, defaults.get(key)) for key, value in flatten(settings) if value != defaults.get(key)]
