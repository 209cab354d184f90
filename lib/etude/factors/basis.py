"""Rotate a fit onto the basis of an earlier one, so that vectors of both can be compared.

A fit determines its factors only up to a rotation of both sides, which changes no score. The orthogonal Procrustes
problem (Schoenemann 1966) asks for the rotation R that minimises |A R - B|, with a row in A and in B for every track
that both fits have. If A'B = U S V' (singular value decomposition), R = U V'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.factors.fit import Earlier, Fit
from etude.factors.objective import turned
from etude.vectors import Factors
from etude.worker import lean_worker

_TIE = 1e-9
"""Share of the identity in A'B: directions that no common track determines stay as they are."""


@dataclass(frozen=True)
class Alignment:
    """Hold the rotation onto an earlier basis, and how far the common tracks are from there.

    Attributes:
        rotation: (rank, rank) float64, orthogonal.
        tracks: number of tracks in both fits.
        drift: |A - B| / |B|, the relative distance before the rotation; 0 without common tracks.
        residual: |A R - B| / |B|, the relative distance that no rotation removes.
    """

    rotation: np.ndarray
    tracks: int
    drift: float
    residual: float


def alignment(tracks: DataFrame, before: DataFrame, rank: int) -> Alignment:
    """Find the rotation from one fit's basis to another's.

    Args:
        tracks: track_idx, factors (array<float>) of the fit to rotate.
        before: the same of the fit whose basis is wanted.
        rank: length of the factors.
    """
    both = tracks.select("track_idx", "factors").join(
        before.select("track_idx", F.col("factors").alias("before")), "track_idx", "inner"
    )
    sums = both.select("factors", "before").mapInArrow(partial(_products, rank=rank), "sums binary").rdd
    # A tree: with many partitions the driver would hold as many matrices.
    total = sums.map(lambda row: np.frombuffer(row["sums"])).treeReduce(np.add)
    products, (new, old, n) = total[:-3].reshape(rank, rank), total[-3:]
    if not old:
        return Alignment(np.eye(rank), 0, 0.0, 0.0)
    scale = np.sqrt(new * old)
    u, _, v = np.linalg.svd(products + _TIE * scale * np.eye(rank))
    rotation = u @ v
    drift, residual = (
        float(np.sqrt(max(0.0, new + old - 2 * np.sum(turn * products)) / old)) for turn in (np.eye(rank), rotation)
    )
    return Alignment(rotation, int(n), drift, residual)


def _products(batches: Iterable[pa.RecordBatch], rank: int) -> Iterator[pa.RecordBatch]:
    """Yield A'B, |A|^2, |B|^2 and the number of rows of a partition, as float64 one after the other."""
    lean_worker()
    total = np.zeros(rank * rank + 3)
    for batch in batches:
        new, old = (each.flatten().to_numpy().reshape(-1, rank).astype(np.float64) for each in batch.columns)
        total += np.concatenate([(new.T @ old).reshape(-1), [np.sum(new * new), np.sum(old * old), len(new)]])
    yield pa.record_batch([pa.array([total.tobytes()], pa.binary())], ["sums"])


def rotated(factors: DataFrame, column: str, rotation: np.ndarray) -> DataFrame:
    """Return `column` and factors with each row multiplied by the rotation."""
    turn = partial(_turned, column=column, rotation=rotation)
    return factors.select(column, "factors").mapInArrow(turn, f"{column} int, factors array<float>")


def _turned(batches: Iterable[pa.RecordBatch], column: str, rotation: np.ndarray) -> Iterator[pa.RecordBatch]:
    lean_worker()
    for batch in batches:
        rows = Factors.from_table(pa.Table.from_batches([batch]), column, len(rotation))
        yield from Factors(rows.idx, turned(rows.values, rotation)).to_table(column).to_batches()


def onto(fitted: Fit, earlier: Earlier, rank: int) -> tuple[Fit, Alignment]:
    """Rotate both sides of a fit onto the basis of an earlier one."""
    found = alignment(fitted.tracks, earlier.tracks, rank)
    users, tracks = (
        rotated(frame, f"{side}_idx", found.rotation)
        for side, frame in (("user", fitted.users), ("track", fitted.tracks))
    )
    return Fit(users, tracks, fitted.losses), found
