"""Join plays and content: factors for every track, by a prior that its content gives.

A finished fit is refined to minimise

    L = sum over all users u and tracks i of c_ui (p_ui - x_u . y_i)^2
        + sum_u l_u |x_u|^2 + sum_i l_i |y_i|^2 + m sum_i |y_i - g_i|^2

with the factors g_i that content predicts, in the basis of the fit, and the prior's weight m. c is that of objective.py
for played cells. An unplayed cell weighs e_i in [0, 1], the track's exposure: the share of the log's time in which it
could have been played. A track without plays then has a closed form: with G = X'X = V diag(s) V',

    y_i = (e_i G + (l_i + m) I)^-1 m g_i = V diag(m / (e_i s + l_i + m)) V' g_i

So without plays a track's factors are what its content says, and with many they are what its plays say. The prior on
factors is that of collaborative topic regression (Wang & Blei 2011); exposure weighs cells as in Liang et al. (2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.factors.blocks import Axis
from etude.factors.fit import Progress, size_limit, unwatched
from etude.factors.objective import gram, penalty, row_regularization, total_loss
from etude.factors.solve import Terms
from etude.factors.sweep import Side, alternate, sides_of
from etude.vectors import Factors

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Prior:
    """Hold what content says of every track.

    Attributes:
        factors: g of every track, played or not, in the basis of the fit.
        exposure: (n,) float32 e of each of them, in [0, 1].
        weight: m, in the units of the objective.
    """

    factors: Factors
    exposure: np.ndarray
    weight: float

    def where(self, mask: np.ndarray) -> Prior:
        """Return the prior of the tracks where the (n,) mask is true."""
        return Prior(self.factors.where(mask), self.exposure[mask], self.weight)


@dataclass(frozen=True)
class Joined:
    """Hold users' and tracks' factors: of every user with plays and of every track that the prior names."""

    users: Factors
    tracks: Factors
    losses: list[tuple[int, float]]
    """(sweep, L), ascending; sweep 0 solves the tracks on the fit's users."""


def prior_of(tracks: pa.Table, predicted: Factors, mean: np.ndarray, weight: float) -> Prior:
    """Return the prior of every track: what content predicts, or the mean if content knows nothing of it.

    Args:
        tracks: track_idx (int32) and exposure (float32), a row per track.
        predicted: factors that content predicts.
        mean: (rank,) the mean of the fitted factors.
        weight: m.
    """
    order = np.argsort(tracks["track_idx"].to_numpy(), kind="stable")
    idx = tracks["track_idx"].to_numpy()[order].astype(np.int32, copy=False)
    values = np.tile(mean.astype(np.float32), (len(idx), 1))
    _, at, of = np.intersect1d(idx, predicted.idx, assume_unique=True, return_indices=True)
    values[at] = predicted.values[of]
    return Prior(Factors(idx, values), tracks["exposure"].to_numpy()[order].astype(np.float32, copy=False), weight)


def exposures(tracks: DataFrame, training: DataFrame) -> DataFrame:
    """Return track_idx, exposure (float): the share of the log's time since each track's release year began.

    It is 1 for a track without a year, and for all tracks of a log without times.

    Args:
        tracks: track_idx, release_year.
        training: first_played_at, last_played_at of the interactions.
    """
    span = training.agg(F.min("first_played_at").alias("first"), F.max("last_played_at").alias("last"))
    first, last = (F.unix_timestamp(name) for name in ("first", "last"))
    released = F.unix_timestamp(F.make_date("release_year", F.lit(1), F.lit(1)).cast("timestamp"))
    share = (last - F.greatest(first, released)) / (last - first)
    known = F.col("release_year").isNotNull() & (last > first)
    share = F.when(known, F.greatest(F.lit(0.0), F.least(F.lit(1.0), share))).otherwise(F.lit(1.0))
    return tracks.crossJoin(F.broadcast(span)).select("track_idx", share.cast("float").alias("exposure"))


def join(
    interactions: DataFrame,
    users: Factors,
    tracks: Factors,
    prior: Prior,
    settings: WmfSettings,
    sweeps: int,
    progress: Progress = unwatched,
) -> Joined:
    """Solve the tracks with the prior, then users and tracks `sweeps` times.

    Args:
        interactions: user_idx, track_idx, play_count; one row per pair.
        users: the fit's factors.
        tracks: the fit's factors.
        prior: what content says of every track.
        settings: those of the fit: objective and solver.
        sweeps: number of sweeps after the tracks were first solved.
        progress: reports the sweeps.

    Raises:
        DataCheckError: a played track has no prior; a factor is not finite; or the factors exceed wmf.max_broadcast_mb.
    """
    axes = {name: Axis.of(interactions, f"{name}_idx") for name in ("user", "track")}
    counts = {"user_idx": len(axes["user"]), "track_idx": 2 * len(prior.factors)}  # factors and prior
    size_limit(settings).check(counts, settings.rank)
    played = np.isin(prior.factors.idx, axes["track"].idx, assume_unique=True)
    of_played, rest = prior.where(played), prior.where(~played)
    if len(of_played.factors) < len(axes["track"]):
        lacking = len(axes["track"]) - len(of_played.factors)
        raise DataCheckError(f"{lacking:,} of {len(axes['track']):,} played tracks have no prior; expected all")

    start = {"user": axes["user"].rows_of(users), "track": axes["track"].rows_of(tracks)}
    of_users, of_tracks = sides_of(interactions, axes, start, settings)
    everyone = np.ones(len(axes["user"]), np.float32)
    pull = np.float32(prior.weight) * of_played.factors.values
    of_tracks.terms = Terms(of_played.exposure, everyone, pull, prior.weight)
    of_users.terms = Terms(everyone, of_played.exposure, pull[:0], 0.0)

    unplayed = rest.factors.values[:0]
    losses: list[tuple[int, float]] = []
    steps = progress(range(sweeps + 1), "blending", sweeps + 1)
    order = (side for step in steps for side in ((of_users, of_tracks) if step else (of_tracks,)))
    for side in alternate(order, (of_users, of_tracks), settings, "blending"):
        if side is of_tracks:
            unplayed = without_plays(rest, of_users.swept.gram, settings)
            exposed = _exposed(side.swept.values, of_played.exposure) + _exposed(unplayed, rest.exposure)
            side.swept = side.swept._replace(gram=exposed)
            losses.append((len(losses), _loss(of_users, of_tracks, of_played, rest, unplayed, settings)))
    found = Factors(of_played.factors.idx, of_tracks.swept.values).union(Factors(rest.factors.idx, unplayed))
    return Joined(Factors(axes["user"].idx, of_users.swept.values), found, losses)


def without_plays(prior: Prior, user_gram: np.ndarray, settings: WmfSettings) -> np.ndarray:
    """Return the factors of tracks without plays (the closed form above): (n, rank) float32.

    Args:
        prior: of those tracks.
        user_gram: G, (rank, rank) float64.
        settings: regularization.
    """
    s, v = np.linalg.eigh(user_gram)
    own = row_regularization(np.zeros(1, np.int64), settings)[0] + prior.weight
    values = np.empty_like(prior.factors.values)
    for first in range(0, len(values), _ROWS_AT_ONCE):  # in pieces: the copies in float64 stay small
        piece = slice(first, first + _ROWS_AT_ONCE)
        shrunk = (prior.factors.values[piece] @ v) * (prior.weight / (prior.exposure[piece, None] * s + own))
        values[piece] = shrunk @ v.T
    return values


def _exposed(values: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Return the sum of e_i y_i y_i': (rank, rank) float64."""
    return gram(values * np.sqrt(exposure, dtype=np.float32)[:, None])


def _loss(
    users: Side, tracks: Side, of_played: Prior, rest: Prior, unplayed: np.ndarray, settings: WmfSettings
) -> float:
    """Return L."""
    sides = ((users.swept.values, users.axis.counts), (tracks.swept.values, tracks.axis.counts))
    everything = (*sides, (unplayed, np.zeros(len(unplayed), np.int64)))
    penalties = sum(penalty(values, row_regularization(counts, settings)) for values, counts in everything)
    for values, prior in ((tracks.swept.values, of_played), (unplayed, rest)):
        penalties += penalty(values - prior.factors.values, np.full(len(values), prior.weight))
    return total_loss(tracks.swept.played_cells, users.swept.gram, tracks.swept.gram, penalties)
