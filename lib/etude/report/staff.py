"""Draw the head of the page: a staff whose notes show the factorisation's loss, one note per iteration."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HALF, _TOP, _FIRST, _STEP = 1160, 5.0, 24.0, 36.0, 46.0
_MOST = 23
_RANGE = 10
"""Steps from just above the staff to just below it; a step is half the distance between two lines."""


def staff(loss: Sequence[tuple[int, float]]) -> str:
    """Return an SVG of five lines, with a note for each step of the curve."""
    lines = "".join(f'<path d="M0 {_TOP + 2 * _HALF * i:g}H{_WIDTH}"/>' for i in range(5))
    notes = "".join(_note(number, place) for number, place in enumerate(places([value for _, value in loss])))
    label = "The loss of each iteration as notes on a staff" if notes else "An empty staff"
    return (
        f'<svg class="staff" viewBox="0 0 {_WIDTH} 88" role="img" aria-label="{label}">'
        f'<g class="lines">{lines}</g><g class="notes">{notes}</g></svg>'
    )


def places(values: Sequence[float]) -> list[int]:
    """Return each value's place on the staff: 0 for the highest value, `_RANGE` for the lowest."""
    shown = list(values)[:_MOST]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if high <= low:
        return []
    return [round((high - value) / (high - low) * _RANGE) for value in shown]


def _note(number: int, place: int) -> str:
    x, y = _FIRST + _STEP * number, _TOP - _HALF + _HALF * place
    up = place >= _RANGE // 2
    stem = f"M{x + 5.6:g} {y - 1.5:g}V{y - 31:g}" if up else f"M{x - 5.6:g} {y + 1.5:g}V{y + 31:g}"
    return f'<ellipse cx="{x:g}" cy="{y:g}" rx="6.3" ry="4.5" transform="rotate(-20 {x:g} {y:g})"/><path d="{stem}"/>'
