"""Define the input and the output of a factorisation, common to all engines, and its size limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.vectors import SizeLimit


@dataclass(frozen=True)
class Size:
    """About how much there is to factorise (distinct counts within some 2%, in one cheap pass)."""

    users: int
    tracks: int
    interactions: int

    @classmethod
    def of(cls, interactions: DataFrame) -> Size:
        """Count users, tracks and interactions."""
        found = interactions.agg(
            F.approx_count_distinct("user_idx", 0.02).alias("users"),
            F.approx_count_distinct("track_idx", 0.02).alias("tracks"),
            F.count(F.lit(1)).alias("interactions"),
        ).first()
        assert found is not None
        return cls(**found.asDict())


def size_limit(settings: WmfSettings) -> SizeLimit:
    """Return the limit of the factors that one process collects or receives."""
    return SizeLimit(
        settings.max_broadcast_mb,
        "wmf.max_broadcast_mb",
        "raise it (with the memory of driver and executors, and spark.driver.maxResultSize), lower wmf.rank, "
        "or fit with wmf.engine=mllib",
    )


@dataclass(frozen=True)
class Fit:
    """Factors and how the loss went.

    Attributes:
        users: user_idx, factors; every user with an interaction.
        tracks: track_idx, factors; every track with an interaction.
        losses: (iteration, loss over all cells), in the order of the iterations that the engine lets us see.
    """

    users: DataFrame
    tracks: DataFrame
    losses: list[tuple[int, float]]


class Progress(Protocol):
    """Passes iterations on and shows how far they are (`JobRun.progress`)."""

    def __call__(self, items: Iterable[int], desc: str, total: int | None = None) -> Iterator[int]:
        """The items, one by one."""
        ...


def unwatched(items: Iterable[int], desc: str, total: int | None = None) -> Iterator[int]:  # noqa: ARG001
    """Progress that nobody sees."""
    yield from items


class Engine(Protocol):
    """Fits factors to interactions (user_idx, track_idx, play_count; one row a pair, play_count at least 1)."""

    def __call__(self, interactions: DataFrame, settings: WmfSettings, progress: Progress = unwatched) -> Fit:
        """The fitted factors.

        Raises:
            DataCheckError: factors are not finite, or don't fit a limit.
        """
        ...
