"""Predict factors by ridge regression on a network's inputs: artist, year, tags, and statistics of the sound.

It minimises, over training tracks i with inputs z_i and factors y_i,

    sum_i |y_i - W'z_i - w_0|^2 + p |W of artist, year and tags|^2 + q |W of the sound|^2

(Hoerl & Kennard 1970). The systems of all factors share one matrix, so conjugate gradients solve them together
(Hestenes & Stiefel 1952). The preconditioner is the diagonal for artist, year and tags, and the whole block for the
sound, whose mel bands depend on one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import UNKNOWN

Floats = npt.NDArray[np.float32]

FIELDS = ("artist", "year", "tags")
STATISTICS = 3
"""Statistics per mel band: mean, deviation, and mean absolute change from frame to frame."""
_TOLERANCE = 1e-4
_MOST_STEPS = 200


@dataclass(frozen=True)
class Penalties:
    """Hold the penalties of the weights of artist, year and tags, and of the weights of the standardised sound."""

    values: float = 1.0
    sound: float = 1000.0


@dataclass(frozen=True)
class Inputs:
    """Hold the inputs of n tracks.

    Attributes:
        values: (n, artists + years + tags) float32: 1 at the track's artist and year, tag weights at its tags.
        sound: (n, STATISTICS x n_mels) float32, see `sound_statistics`; no columns without audio.
        heard: (n,) whether the track has sound.
    """

    values: sp.csr_matrix
    sound: Floats
    heard: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sound)

    def where(self, mask: npt.NDArray[np.bool_]) -> Inputs:
        """Return the tracks where the (n,) mask is true."""
        return Inputs(self.values[mask], self.sound[mask], self.heard[mask])


@dataclass(frozen=True)
class Ridge:
    """Hold a fitted regression; all arrays float32.

    Attributes:
        values: (artists + years + tags, rank) weights.
        sound: (STATISTICS x n_mels, rank) weights of standardised sound.
        intercept: (rank,).
        sound_mean: mean of the sound over the training tracks that have one.
        sound_std: its standard deviation; 1 where it is 0.
        penalties: what it was fitted with.
    """

    values: Floats
    sound: Floats
    intercept: Floats
    sound_mean: Floats
    sound_std: Floats
    penalties: Penalties

    def predict(self, inputs: Inputs) -> Floats:
        """Return factors (n, rank) on the scale of the targets. What a track lacks or nobody knows adds nothing."""
        heard = _standardised(inputs, self.sound_mean, self.sound_std)
        return np.asarray(inputs.values @ self.values + heard @ self.sound + self.intercept, np.float32)


def inputs_of(rows: Mapping[str, np.ndarray], shape: ExampleShape, fields: Sequence[str] = FIELDS) -> Inputs:
    """Return the inputs of n tracks.

    Args:
        rows: artist_index, year_index (n,), tag_indices, tag_weights (n, tags), has_mel (n,), sound (n, any).
        shape: numbers of artists, years and tags.
        fields: the metadata that counts; the columns of all other fields are empty.
    """
    n, tags = rows["tag_indices"].shape
    first_year, first_tag = shape.artists, shape.artists + shape.years
    columns = np.column_stack(
        [rows["artist_index"], rows["year_index"] + first_year, rows["tag_indices"] + first_tag]
    ).astype(np.int32)
    values = np.column_stack(
        [
            (rows["artist_index"] != UNKNOWN) * np.float32("artist" in fields),
            (rows["year_index"] != UNKNOWN) * np.float32("year" in fields),
            rows["tag_weights"] * np.float32("tags" in fields),
        ]
    ).astype(np.float32)
    starts = np.arange(n + 1, dtype=np.int64) * (2 + tags)
    matrix = sp.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(n, first_tag + shape.tags))
    matrix.eliminate_zeros()
    return Inputs(matrix, np.asarray(rows["sound"], np.float32), rows["has_mel"] == 1)


def sound_statistics(mel: Floats, shape: ExampleShape) -> Floats:
    """Return mean, deviation and mean absolute change of each mel band over all crops.

    Args:
        mel: (n, mel_size) in dB, as in `examples`.
        shape: its layout.

    Returns:
        (n, STATISTICS x n_mels) float32; no columns without audio.
    """
    if not shape.mel_size:
        return np.zeros((len(mel), 0), np.float32)
    bands = mel.reshape(len(mel), shape.crops, shape.n_mels, shape.n_frames)
    change = (
        np.abs(np.diff(bands, axis=3)).mean(axis=(1, 3)) if shape.n_frames > 1 else np.zeros_like(bands[:, 0, :, 0])
    )
    return np.concatenate([bands.mean(axis=(1, 3)), bands.std(axis=(1, 3)), change], axis=1).astype(np.float32)


def fit(inputs: Inputs, targets: Floats, penalties: Penalties, start: Ridge | None = None) -> Ridge:
    """Fit the regression to training tracks.

    Args:
        inputs: of n tracks, at least one.
        targets: (n, rank) factors.
        penalties: see the module.
        start: weights to start from, such as those of other penalties.
    """
    mean, std = _moments(inputs)
    system = _System(inputs.values, _standardised(inputs, mean, std), penalties)
    first = None if start is None else np.vstack([start.values, start.sound, start.intercept[None]])
    weights = system.solve(np.asarray(targets, np.float32), first)
    split = inputs.values.shape[1]
    return Ridge(weights[:split], weights[split:-1], weights[-1], mean, std, penalties)


def fit_without(
    inputs: Inputs, targets: Floats, folds: npt.NDArray[np.int32], n: int, whole: Ridge
) -> tuple[Ridge, ...]:
    """Return the regressions to all training tracks but those of fold 0, 1, ..., n - 1.

    Args:
        inputs: of the training tracks.
        targets: (n, rank) factors.
        folds: (n,) the fold of each track.
        n: number of folds.
        whole: the regression to all of them, whose penalties count. A fold with all tracks or none gets this one.
    """
    parts = [folds != fold for fold in range(n)]
    return tuple(
        fit(inputs.where(part), targets[part], whole.penalties, whole) if part.any() and not part.all() else whole
        for part in parts
    )


class _System:
    """Hold the normal equations (Z'Z + P) W = Z'Y of the columns values, sound and 1."""

    def __init__(self, values: sp.csr_matrix, sound: Floats, penalties: Penalties):
        self.values, self.split = values, values.shape[1]
        self.back = values.T.tocsr()
        self.dense = np.column_stack([sound, np.ones(len(sound), np.float32)])
        of_dense = np.full(self.dense.shape[1], penalties.sound)
        of_dense[-1] = 0.0
        self.penalties = np.concatenate([np.full(self.split, penalties.values), of_dense])[:, None].astype(np.float32)
        squares = np.asarray(values.multiply(values).sum(axis=0)).ravel()
        self.diagonal = (squares + penalties.values)[:, None].astype(np.float32)
        block = (self.dense.T @ self.dense).astype(np.float64)
        self.block = cho_factor(block + np.diag(of_dense))

    def solve(self, targets: Floats, start: Floats | None) -> Floats:
        """Return W: (columns, rank)."""
        wanted = self._transposed(targets)
        weights = np.zeros_like(wanted) if start is None else start.copy()
        residual = wanted - self._applied(weights) if start is not None else wanted.copy()
        enough = _TOLERANCE * np.linalg.norm(wanted, axis=0)
        step = self._preconditioned(residual)
        direction, square = step, (residual * step).sum(axis=0)
        for _ in range(_MOST_STEPS):
            if (np.linalg.norm(residual, axis=0) <= enough).all():
                break
            image = self._applied(direction)
            along = _ratio(square, (direction * image).sum(axis=0))
            weights += along * direction
            residual -= along * image
            step = self._preconditioned(residual)
            before, square = square, (residual * step).sum(axis=0)
            direction = step + _ratio(square, before) * direction
        return weights

    def _applied(self, weights: Floats) -> Floats:
        fitted = self.values @ weights[: self.split] + self.dense @ weights[self.split :]
        return self._transposed(fitted) + self.penalties * weights

    def _transposed(self, rows: Floats) -> Floats:
        return np.vstack([self.back @ rows, self.dense.T @ rows])

    def _preconditioned(self, residual: Floats) -> Floats:
        dense = cho_solve(self.block, residual[self.split :]).astype(np.float32)
        return np.vstack([residual[: self.split] / self.diagonal, dense])


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return one / other, 0 where other is 0: that column is solved."""
    return np.divide(one, other, out=np.zeros_like(one), where=other > 0)


def choose(inputs: Inputs, targets: Floats, validation: Inputs, expected: Floats) -> Ridge:
    """Fit with the penalties that give the least squared error on validation tracks; the first ones without any.

    The penalty of artist, year and tags is chosen first, then that of the sound.
    """
    best = fit(inputs, targets, Penalties())
    if not len(validation):
        return best

    def error(ridge: Ridge) -> float:
        return float(np.square(ridge.predict(validation) - expected, dtype=np.float64).mean())

    for name, factors in (("values", (0.3, 3.0, 10.0)), ("sound", (0.1, 10.0))):
        if name == "sound" and not inputs.sound.shape[1]:
            continue
        base = best.penalties
        tried = [replace(base, **{name: getattr(base, name) * factor}) for factor in factors]
        fits = [best, *(fit(inputs, targets, penalties, best) for penalties in tried)]
        best = min(fits, key=error)
    return best


def _moments(inputs: Inputs) -> tuple[Floats, Floats]:
    """Return mean and deviation of the sound over the tracks that have one; the rows of all others are zeros."""
    n = max(1, int(inputs.heard.sum()))
    mean = inputs.sound.sum(axis=0, dtype=np.float64) / n
    squares = np.einsum("ij,ij->j", inputs.sound, inputs.sound, dtype=np.float64) / n
    std = np.sqrt(np.maximum(squares - mean**2, 0.0))
    std[std < 1e-4] = 1.0  # constant bands, but for rounding
    return mean.astype(np.float32), std.astype(np.float32)


def _standardised(inputs: Inputs, mean: Floats, std: Floats) -> Floats:
    return np.where(inputs.heard[:, None], (inputs.sound - mean) / std, np.float32(0)).astype(np.float32, copy=False)
