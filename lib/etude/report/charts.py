"""Draw the report's charts: matplotlib writes SVG text that the page holds inline."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from etude.report.facts import Mel, Search
from etude.report.palette import ACCENT, GRID, INK, MUTED, SECOND, Look, themed

Points = Sequence[tuple[float, float]]

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
}


def curves(lines: Sequence[tuple[str, Points]], x_label: str, y_label: str, mark_least: bool = False) -> str:
    """Draw curves over steps, each labelled at its end; `mark_least` marks the lowest point of the last curve."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.4, 3.0))
        axes = figure.add_subplot()
        looks = [Look(name, "model", colour) for (name, _), colour in zip(lines, (ACCENT, SECOND, INK), strict=False)]
        _draw(axes, [(look, points) for look, (_, points) in zip(looks, lines, strict=False)], named=len(lines) > 1)
        if mark_least and lines and lines[-1][1]:
            step, value = min(lines[-1][1], key=lambda point: point[1])
            axes.plot([step], [value], "o", color=looks[-1].colour, markersize=6, zorder=5)
            axes.annotate(
                f"best: {step:g}", (step, value), (0, -14), textcoords="offset points", ha="center", fontsize=9
            )
            axes.margins(y=0.18)
        axes.set_xlabel(x_label)
        axes.set_title(y_label, loc="left", fontsize=10, color=MUTED, pad=8)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        return _svg(figure, f"{y_label} over {x_label}: " + ", ".join(name for name, _ in lines))


def over_k(lines: Sequence[tuple[Look, Points]], metric: str, title: str) -> str:
    """Draw one metric over the length of the list, one line per model."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 2.7))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        _draw(axes, lines)
        cuts = sorted({k for _, points in lines for k, _ in points})
        axes.set_xticks(cuts, [f"{k:g}" for k in cuts])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("length of the list, k")
        axes.set_title(title, loc="left", fontsize=10, color=MUTED, pad=8)
        return _svg(figure, f"{metric} over k: " + ", ".join(look.label for look, _ in lines))


def by_listeners(lines: Sequence[tuple[Look, Points]], levels: Sequence[str], title: str) -> str:
    """Draw a share over levels of listeners, one line per model; points are (number of the level, share)."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.4, 3.0))
        axes = figure.add_subplot()
        _draw(axes, lines)
        axes.set_xticks(range(len(levels)), levels)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("users who have played the track in training")
        axes.set_title(title, loc="left", fontsize=10, color=MUTED, pad=8)
        return _svg(figure, f"{title} by listeners: " + ", ".join(look.label for look, _ in lines))


def trials(search: Search) -> str:
    """Draw the settings that a search tried: a circle per trial, a panel per confidence; better ones are darker."""
    forms = list(dict.fromkeys(trial.confidence for trial in search.trials))
    ranks = sorted({trial.rank for trial in search.trials})
    values = [trial.value for trial in search.trials]
    span = max(values) - min(values) or 1.0
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(7.4, 3.2))
        panels = figure.subplots(1, len(forms), sharey=True, squeeze=False)[0]
        for axes, form in zip(panels, forms, strict=True):
            axes.set(xscale="log", yscale="log", xlabel="alpha")
            axes.set_title(form, loc="left", fontsize=10, color=MUTED, pad=8)
            for trial in (trial for trial in search.trials if trial.confidence == form):
                size = 4 + 9 * (ranks.index(trial.rank) + 1) / len(ranks)
                axes.plot(
                    [trial.alpha], [trial.regularization], "o", markersize=size, markeredgecolor=ACCENT,
                    markerfacecolor=(ACCENT, 0.08 + 0.92 * (trial.value - min(values)) / span),
                )  # fmt: skip
            for name, named in (("best", search.best()), ("as given", search.given())):
                if named is not None and named.confidence == form:
                    at = (named.alpha, named.regularization)
                    axes.annotate(name, at, (0, 10), textcoords="offset points", ha="center", fontsize=9.5)
            axes.margins(0.15)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_locator(NullLocator())
        panels[0].set_ylabel("regularization")
        return _svg(figure, f"{search.metric}@{search.k} of settings tried: " + ", ".join(forms))


def mel_picture(mel: Mel) -> str:
    """Draw a mel spectrogram: time to the right, mel filters upwards, dB as brightness."""
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(4.6, 2.2))
        axes = figure.add_subplot()
        top = float(mel.db.max())
        seconds = mel.db.shape[1] * mel.hop_length / mel.sample_rate if mel.hop_length else None
        picture = axes.imshow(
            mel.db,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=max(float(mel.db.min()), top - 80),
            vmax=top,
            extent=(0, seconds or mel.db.shape[1], 0, mel.db.shape[0]),
            interpolation="nearest",
        )
        axes.set_xlabel("seconds" if seconds else "frames")
        axes.set_ylabel("mel filter")
        bar = figure.colorbar(picture, ax=axes, pad=0.02, aspect=14)
        bar.outline.set_visible(False)
        bar.set_label("dB")
        return _svg(figure, f"mel spectrogram of {mel.title or mel.track_id}")


def _draw(axes: Axes, lines: Sequence[tuple[Look, Points]], named: bool = True) -> None:
    ends = []
    for look, points in lines:
        if not points:
            continue
        x, y = zip(*points, strict=True)
        marker = "o" if len(points) < 10 else None
        axes.plot(x, y, color=look.colour, linestyle=look.dash, marker=marker, markersize=4)
        ends.append((y[-1], x[-1], look))
    axes.margins(x=0.02)
    if named:
        _name_ends(axes, ends)


def _name_ends(axes: Axes, ends: list[tuple[float, float, Look]]) -> None:
    """Label each line beside its end; labels of close ends are moved apart."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high - low) * 0.085
    ends.sort(key=lambda end: end[0])
    places: list[float] = []
    for value, _, _ in ends:
        places.append(max(value, places[-1] + gap) if places else value)
    # Labels pushed above the axes' upper limit are moved back down, all by the same distance.
    excess = max(0.0, places[-1] - high)
    for (_, x, look), place in zip(ends, places, strict=True):
        axes.annotate(
            look.label,
            (x, place - excess),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=look.colour,
            annotation_clip=False,
        )


def _svg(figure: Figure, description: str) -> str:
    """Return the figure as an `<svg>` element that scales with its container and has a description."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    out = io.StringIO()
    # The salt makes ids differ within one page and stay the same in every run.
    with matplotlib.rc_context({"svg.hashsalt": description}):
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.04, metadata={"Date": None})
    svg = out.getvalue()[out.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)
    return themed(re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg))
