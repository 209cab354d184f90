"""Format numbers for people."""

from __future__ import annotations

from datetime import datetime


def count(value: int | float) -> str:
    """Format a count as in 1,234,567."""
    return f"{value:,.0f}"


def figure(value: float | None) -> str:
    """Format a figure with three decimals below 10, fewer above; None (not measured) as a dash."""
    if value is None:
        return "–"
    if value != 0 and abs(value) < 0.0005:
        return f"{value:.1e}"
    size = abs(value)
    return f"{value:.3f}" if size < 10 else f"{value:.2f}" if size < 1000 else count(value)


def percent(share: float | None) -> str:
    """Format a share of 1 as a percentage, with one decimal below 10%."""
    if share is None:
        return "–"
    value = 100 * share
    return f"{value:.1f}%" if abs(value) < 9.95 else f"{value:.0f}%"


def seconds(value: float | None) -> str:
    """Format a duration as in 4.2 s, 1 min 12 s or 2 h 5 min."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def day(value: datetime | None) -> str:
    """Format a date as in 31 Jan 2026."""
    return f"{value.day} {value:%b %Y}" if value else "–"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun as in '1 user' or '2 users'."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"
