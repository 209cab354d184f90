"""Factors of users or tracks as arrays: their size, its limit, and the conversion from and to frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.errors import DataCheckError

_ARROW_NUMBERS = 2**31 - 1
"""Most numbers in one Arrow array of lists, whose offsets are int32."""


@dataclass(frozen=True)
class Factors:
    """Hold the factors of users or tracks.

    Attributes:
        idx: (n,) int32 indices of users or tracks, ascending, without repeats.
        values: (n, rank) float32, the factors of each index.
    """

    idx: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.idx)

    @property
    def rank(self) -> int:
        """Return the number of factors per row."""
        return self.values.shape[1]

    def where(self, mask: npt.NDArray[np.bool_]) -> Factors:
        """Return the rows where the (n,) mask is true."""
        return Factors(self.idx[mask], self.values[mask])

    def among(self, wanted: npt.ArrayLike) -> Factors:
        """Return the rows whose index is one of the wanted indices; an index without factors is ignored."""
        return self.where(np.isin(self.idx, wanted))

    def scaled(self, by: float) -> Factors:
        """Return all factors multiplied by `by`."""
        return Factors(self.idx, self.values * np.float32(by))

    def union(self, other: Factors) -> Factors:
        """Return the rows of both.

        Raises:
            DataCheckError: an index has factors in both.
        """
        idx = np.concatenate([self.idx, other.idx])
        order = np.argsort(idx, kind="stable")
        _check_unique(idx[order], "factors of two sets")
        return Factors(idx[order], np.concatenate([self.values, other.values])[order])

    def to_table(self, column: str) -> pa.Table:
        """Return an Arrow table of `column` (int32) and factors (list of float32), a row per index."""
        n, rank = self.values.shape
        step = max(1, _ARROW_NUMBERS // max(1, rank))
        pieces = [self.values[first : first + step] for first in range(0, max(n, 1), step)]  # Spark needs a chunk
        lists = [
            pa.ListArray.from_arrays(
                pa.array(np.arange(len(piece) + 1) * rank, pa.int32()), pa.array(piece.reshape(-1), pa.float32())
            )
            for piece in pieces
        ]
        factors = pa.chunked_array(lists, pa.list_(pa.float32()))
        return pa.table({column: pa.array(self.idx, pa.int32()), "factors": factors})

    def to_frame(self, spark: SparkSession, column: str) -> DataFrame:
        """Return a frame of `column` (int) and factors (array<float>), a row per index."""
        return spark.createDataFrame(self.to_table(column))

    def idx_frame(self, spark: SparkSession, column: str) -> DataFrame:
        """Return a frame of the indices alone: `column` (int)."""
        return spark.createDataFrame(pa.table({column: pa.array(self.idx, pa.int32())}))

    @classmethod
    def from_table(cls, table: pa.Table, column: str, rank: int | None = None) -> Factors:
        """Convert an Arrow table of `column` (int32) and factors (list of float32), in any order.

        Args:
            table: a row per index.
            column: the index, such as user_idx or track_idx.
            rank: numbers that every row must have; None accepts any number that all rows share.

        Raises:
            DataCheckError: rows differ in length, a factor is null or not finite, or an index has two rows.
        """
        rank = _common_length(pc.min_max(pc.list_value_length(table["factors"])).as_py(), column, rank)
        idx = table[column].to_numpy()
        order = np.argsort(idx, kind="stable")
        _check_unique(idx[order], f"factors by {column}")
        place = np.empty(len(idx), np.int64)
        place[order] = np.arange(len(idx))
        values = np.empty((len(idx), rank), np.float32)
        first = 0
        for chunk in table["factors"].chunks:  # piece by piece: one copy in all
            numbers = chunk.flatten().to_numpy(zero_copy_only=False)
            if len(numbers) != len(chunk) * rank or not np.isfinite(numbers).all():
                raise DataCheckError(
                    f"factors by {column} are null or not finite; expected finite numbers: "
                    "run again the job that wrote them"
                )
            values[place[first : first + len(chunk)]] = numbers.reshape(len(chunk), rank)
            first += len(chunk)
        return cls(idx[order].astype(np.int32, copy=False), values)


def _common_length(found: Mapping[str, int | None], column: str, rank: int | None) -> int:
    """Return the length of all rows, from the least and the greatest (None without rows)."""
    least, greatest = found["min"], found["max"]
    if greatest is None:
        return rank or 0
    if least != greatest:
        raise DataCheckError(
            f"factors by {column} have {least} to {greatest} numbers; expected as many in every row: "
            "run again the job that wrote them"
        )
    if rank is not None and greatest != rank:
        raise DataCheckError(f"factors by {column} have {greatest} numbers; expected {rank} numbers per row")
    return greatest


def _check_unique(ascending: npt.NDArray[np.int32], subject: str) -> None:
    repeats = int((np.diff(ascending) == 0).sum())
    if repeats:
        raise DataCheckError(
            f"{subject}: {repeats:,} rows repeat an index; expected one row per index: "
            "run again the job that wrote them"
        )


@dataclass(frozen=True)
class SizeLimit:
    """Limit the factors that one process holds.

    Attributes:
        megabytes: the limit in MB (2**20 bytes).
        setting: name of the setting that gives the limit.
        advice: remedy for the error message, a clause such as "lower wmf.rank".
        extra_bytes: bytes per row that the process holds beside the factors.
    """

    megabytes: int
    setting: str
    advice: str
    extra_bytes: int = 0

    def size(self, rows: int, rank: int) -> float:
        """Return the size of `rows` rows of factors in MB."""
        return rows * (4 * rank + self.extra_bytes) / 2**20

    def check(self, rows: Mapping[str, int], rank: int) -> None:
        """Refuse factors larger than the limit; to be called before they are collected or broadcast.

        Args:
            rows: number of rows by index column (user_idx, track_idx).
            rank: factors per row.

        Raises:
            DataCheckError: the factors are larger than the limit.
        """
        size = self.size(sum(rows.values()), rank)
        if size > self.megabytes:
            counts = " + ".join(f"{n:,} rows by {column}" for column, n in rows.items())
            bytes_per_row = f"{rank} factors x 4 bytes" + (f" + {self.extra_bytes} bytes" if self.extra_bytes else "")
            raise DataCheckError(
                f"{counts}, each of {bytes_per_row}, are {size:,.0f} MB, more than "
                f"{self.setting}={self.megabytes}: {self.advice}"
            )


def collect(frame: DataFrame, column: str, limit: SizeLimit, rank: int | None = None) -> Factors:
    """Collect the factors of one frame; see `collect_all`."""
    return collect_all([frame], column, limit, rank)[0]


def collect_all(frames: Sequence[DataFrame], column: str, limit: SizeLimit, rank: int | None = None) -> list[Factors]:
    """Collect factors on the driver, after a check that all frames together fit the limit.

    Args:
        frames: each of `column` and factors (array<float>), a row per index; at least one frame.
        column: user_idx or track_idx.
        limit: largest size of all frames together.
        rank: numbers that every row must have; None accepts any number that the rows of all frames share.

    Raises:
        DataCheckError: the factors exceed the limit, differ in length, are null or not finite, or an index has two rows
            in one frame.
    """
    length = F.size("factors")
    lengths = reduce(DataFrame.unionAll, [frame.select("factors") for frame in frames])
    found = lengths.agg(F.count(F.lit(1)).alias("rows"), F.min(length).alias("min"), F.max(length).alias("max")).first()
    assert found is not None
    rank = _common_length(found.asDict(), column, rank)
    limit.check({column: found["rows"]}, rank)
    tables = (frame.select(F.col(column).cast("int").alias(column), "factors").toArrow() for frame in frames)
    return [Factors.from_table(table, column, rank) for table in tables]
