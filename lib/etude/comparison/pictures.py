"""Draw the figures of a comparison as SVG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from etude.comparison.bootstrap import Figures
from etude.comparison.curves import Curve

# Okabe & Ito's colours, which colour-blind people can tell apart; dashes repeat the difference in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#999999")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 2)), "-")
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "etude",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.facecolor": "white",
}


def lists(figures: Figures, labels: Mapping[str, str], cuts: Sequence[int]) -> str:
    """Draw precision, recall and F1 over the length of the list, a line per network; bars are 95% intervals."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(11, 3.6))
        panels = canvas.subplots(1, 3)
        for axes, metric in zip(panels, ("precision", "recall", "f1"), strict=True):
            for number, (network, label) in enumerate(labels.items()):
                found = [figures.interval(network, f"{metric}@{k}") for k in cuts]
                values = [each.value for each in found]
                # The replicates needn't lie around the figure: an end on its wrong side has no bar.
                bars = [
                    [max(0.0, each.value - each.low) for each in found],
                    [max(0.0, each.high - each.value) for each in found],
                ]
                axes.errorbar(
                    list(cuts), values, yerr=bars, label=label, color=_COLOURS[number], linestyle=_DASHES[number],
                    capsize=2, elinewidth=0.8,
                )  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(list(cuts), [str(k) for k in cuts])
            axes.minorticks_off()
            _name(axes, "F1" if metric == "f1" else metric, "length of the list")
        return _svg(canvas, panels[0])


def curves(found: Mapping[str, Curve], k: int) -> str:
    """Draw training loss, validation loss and recall on validation tracks over epochs, a line per learning rate."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(11, 3.6))
        panels = canvas.subplots(1, 3)
        titles = {"training": "training loss", "validation": "validation loss", "recall": f"recall@{k}, validation"}
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for number, (rate, curve) in enumerate(found.items()):
                values = getattr(curve, name)
                axes.plot(
                    range(1, len(values) + 1), values, label=rate, color=_COLOURS[number], linestyle=_DASHES[number]
                )
            _name(axes, title, "epoch")
        return _svg(canvas, panels[0])


def _name(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(below)


def _svg(canvas: Canvas, labelled: Axes) -> str:
    handles, names = labelled.get_legend_handles_labels()
    canvas.legend(handles, names, loc="upper center", ncols=4, frameon=False, bbox_to_anchor=(0.5, -0.02))
    out = io.StringIO()
    canvas.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return out.getvalue()
