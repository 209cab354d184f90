"""Fit by the engine `blocked`: alternating least squares over cached blocks of rows, compiled, in float32.

Each of the `wmf.iterations` iterations solves the users' rows on the tracks' factors, then the tracks' rows on the
users' new factors. Blocks are built once. A half sweep broadcasts the other side's newest factors, solves every row
(conjugate gradient from the row's last factors, or exactly) and collects the factors on the driver. The driver and each
Python worker hold the factors of both sides: `wmf.max_broadcast_mb` limits their size, checked before any work.
"""

from __future__ import annotations

from pyspark.sql import DataFrame

from etude.config.wmf import WmfSettings
from etude.factors.blocks import Axis
from etude.factors.fit import Fit, Progress, size_limit, unwatched
from etude.factors.objective import penalty, row_regularization, total_loss
from etude.factors.start import start
from etude.factors.sweep import Side, alternate, sides_of
from etude.vectors import Factors


def fit(interactions: DataFrame, settings: WmfSettings, progress: Progress = unwatched) -> Fit:
    """Fit factors (see `Engine`)."""
    axes = {name: Axis.of(interactions, f"{name}_idx") for name in ("user", "track")}
    size_limit(settings).check({f"{name}_idx": len(axis) for name, axis in axes.items()}, settings.rank)
    values = {name: start(axis.idx, name, settings) for name, axis in axes.items()}
    users, tracks = sides_of(interactions, axes, values, settings)
    iterations = progress(range(1, settings.iterations + 1), "factorising", settings.iterations)
    order = (side for _ in iterations for side in (users, tracks))
    losses: list[tuple[int, float]] = []
    for side in alternate(order, (users, tracks), settings, "factorising"):
        if side is tracks:
            losses.append((len(losses) + 1, _loss(users, tracks, settings)))
    spark = interactions.sparkSession
    frames = [Factors(side.axis.idx, side.swept.values).to_frame(spark, f"{side.name}_idx") for side in (users, tracks)]
    return Fit(frames[0], frames[1], losses)


def _loss(users: Side, tracks: Side, settings: WmfSettings) -> float:
    penalties = sum(
        penalty(side.swept.values, row_regularization(side.axis.counts, settings)) for side in (users, tracks)
    )
    return total_loss(tracks.swept.played_cells, users.swept.gram, tracks.swept.gram, penalties)
