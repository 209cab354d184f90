"""List the engines by name, and choose one for `auto`."""

from __future__ import annotations

from collections.abc import Callable

from etude.config.wmf import WmfSettings
from etude.factors import blocked, mllib
from etude.factors.barrier import stage
from etude.factors.fit import Engine, Size, size_limit

ENGINES: dict[str, Engine] = {"barrier": stage.fit, "blocked": blocked.fit, "mllib": mllib.fit}

_COUNTED_WITHIN = 1.05
"""Margin for approximate counts; `blocked` counts exactly and refuses factors over the limit."""


def choose(size: Callable[[], Size], settings: WmfSettings, no_barrier: str | None) -> tuple[str, str]:
    """Return the name of the engine for data of this size, and the reason.

    Args:
        size: returns that of the interactions; a pass over them, which barrier doesn't need.
        settings: the engine asked for.
        no_barrier: why the session can't run a barrier stage; None if it can.

    Raises:
        DataCheckError: wmf.engine is `blocked`, and its factors don't fit wmf.max_broadcast_mb.
    """
    limit = size_limit(settings, blocked=True)
    if settings.engine == "blocked":
        limit.check({"user_idx": size().users, "track_idx": size().tracks}, settings.rank)
    if settings.engine != "auto":
        return settings.engine, "set by wmf.engine"
    if no_barrier is None:
        return "barrier", "the executors last, and have free slots"
    needed = limit.size(size().users + size().tracks, settings.rank)
    if needed * _COUNTED_WITHIN <= limit.megabytes:
        return "blocked", f"{no_barrier}; {needed:,.1f} MB of factors fit {limit.setting}={limit.megabytes}"
    return "mllib", f"{no_barrier}; {needed:,.1f} MB of factors exceed {limit.setting}={limit.megabytes}, or nearly do"
