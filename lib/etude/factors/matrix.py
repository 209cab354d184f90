"""Factors of one side in memory, their start values, and their way from and to frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.hashing import uniforms

_START_ROWS = 65_536
_ARROW_NUMBERS = 2**31 - 1
"""Most numbers in one Arrow array of lists, whose offsets are int32."""


@dataclass(frozen=True)
class Factors:
    """Rows `values` (n, rank) float32 of users or tracks `idx` (n,) int32, rising."""

    idx: np.ndarray
    values: np.ndarray

    def to_frame(self, spark: SparkSession, column: str) -> DataFrame:
        """A frame of `column` (user_idx or track_idx) and factors array<float>."""
        n, rank = self.values.shape
        step = max(1, _ARROW_NUMBERS // rank)
        pieces = [self.values[first : first + step] for first in range(0, n, step)]
        lists = [
            pa.ListArray.from_arrays(
                pa.array(np.arange(len(piece) + 1) * rank, pa.int32()), pa.array(piece.reshape(-1), pa.float32())
            )
            for piece in pieces
        ]
        factors = pa.chunked_array(lists, pa.list_(pa.float32()))
        return spark.createDataFrame(pa.table({column: pa.array(self.idx, pa.int32()), "factors": factors}))

    def idx_frame(self, spark: SparkSession, column: str) -> DataFrame:
        """A frame of the indices alone."""
        return spark.createDataFrame(pa.table({column: pa.array(self.idx, pa.int32())}))

    @classmethod
    def from_frame(cls, frame: DataFrame, column: str, settings: WmfSettings) -> Factors:
        """Collect a frame of `column` and factors.

        Raises:
            DataCheckError: the rows are more than wmf.max_broadcast_mb holds, or not all of one length.
        """
        check_size({column: frame.count()}, settings)
        table = frame.select(F.col(column).cast("int"), "factors").toArrow()
        idx = table[column].to_numpy()
        pieces = [piece.flatten().to_numpy() for piece in table["factors"].chunks]
        flat = np.concatenate([*pieces, np.empty(0, np.float32)])
        if len(flat) != len(idx) * settings.rank:
            raise DataCheckError(f"factors by {column}: expected {settings.rank} numbers a row (wmf.rank)")
        order = np.argsort(idx)
        return cls(idx[order], flat.reshape(len(idx), settings.rank)[order])


def start(idx: np.ndarray, side: str, settings: WmfSettings) -> np.ndarray:
    """Initial factors in [0, 0.01), a pure function of (wmf.seed, side, index): (n, rank) float32."""
    values = np.empty((len(idx), settings.rank), dtype=np.float32)
    columns = np.arange(settings.rank)
    for first in range(0, len(idx), _START_ROWS):  # in pieces: the draws take 8 bytes and some copies
        piece = slice(first, first + _START_ROWS)
        values[piece] = 0.01 * uniforms(settings.seed, f"start of {side}", idx[piece, None], columns)
    return values


def megabytes(rows: int, rank: int) -> float:
    """Size of so many rows of factors."""
    return rows * rank * 4 / 2**20


def check_size(rows: dict[str, int], settings: WmfSettings) -> None:
    """Refuse factors that don't fit what is shipped and collected, before any work is done.

    Raises:
        DataCheckError: they are more than wmf.max_broadcast_mb.
    """
    size = megabytes(sum(rows.values()), settings.rank)
    if size > settings.max_broadcast_mb:
        what = " + ".join(f"{n:,} rows by {column}" for column, n in rows.items())
        raise DataCheckError(
            f"{what} x rank {settings.rank} x 4 bytes = {size:,.0f} MB of factors, more than "
            f"wmf.max_broadcast_mb={settings.max_broadcast_mb} lets into one process: raise it (with the memory of "
            "driver and executors, and spark.driver.maxResultSize), lower wmf.rank, or fit with wmf.engine=mllib"
        )
