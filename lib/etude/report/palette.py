"""Define names and colours of the models, and the colours of figures as CSS variables.

matplotlib needs fixed colours; the page needs CSS variables such as `var(--ink)`, so that a picture fits light and dark
mode. Figures are drawn in placeholder colours that nothing else uses, and `themed` replaces them by the variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INK, MUTED, GRID, PAPER = "#0b0001", "#0b0002", "#0b0003", "#0b0004"
ACCENT, SECOND = "#0b0005", "#0b0006"
BOUND, LINES = "#0b0007", ("#0b0010", "#0b0011", "#0b0012", "#0b0013", "#0b0014", "#0b0015")

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    ACCENT: "--accent",
    SECOND: "--second",
    BOUND: "--bound",
    **{colour: f"--line-{number}" for number, colour in enumerate(LINES)},
}


def themed(svg: str) -> str:
    """Return the picture with CSS variables instead of the placeholder colours."""
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


@dataclass(frozen=True)
class Look:
    """Describe how one model appears; `kind` is model, part (of a model), baseline or bound."""

    label: str
    kind: str
    colour: str
    dash: Any = "-"


_KNOWN = {
    "random": Look("random", "baseline", LINES[0], ":"),
    "popularity": Look("popularity", "baseline", LINES[1], "--"),
    "artist_popularity": Look("artist popularity", "baseline", LINES[2], "--"),
    "same_artist": Look("same artist", "baseline", LINES[3], "-."),
    "plays_only": Look("plays only", "part", LINES[4], "--"),
    "content_only": Look("content only", "part", LINES[5], "--"),
    "network": Look("network alone", "part", LINES[4], "-."),
    "training_mean": Look("training mean", "baseline", LINES[4], ":"),
    "mean": Look("training mean", "baseline", LINES[4], ":"),
    "item_knn": Look("item-kNN", "baseline", LINES[3], "--"),
    "ease": Look("EASE", "baseline", LINES[5], "-."),
    "ridge": Look("ridge regression", "baseline", LINES[5], "-."),
    "true_factors": Look("true factors (bound)", "bound", BOUND, (0, (1, 1))),
    "oracle_refit": Look("full refit (for orientation)", "bound", BOUND, (0, (4, 1))),
}
_ORDER = {"model": 0, "part": 1, "baseline": 2, "bound": 3}


def look(model: str) -> Look:
    """Return the look of a model; a model that isn't a known baseline or bound gets the kind model."""
    return _KNOWN.get(model, Look(model.replace("_", " "), "model", ACCENT))


def ordered(models: list[str]) -> list[str]:
    """Order models by kind: trained models first, then their parts and baselines, the bound last."""
    known = list(_KNOWN)
    return sorted(models, key=lambda m: (_ORDER[look(m).kind], known.index(m) if m in known else -1, m))


def listed(models: list[str]) -> list[str]:
    """Return the models whose lists would be served: the blend if there is one, since the others are its parts."""
    return ["blend"] if "blend" in models else [model for model in models if look(model).kind == "model"]
