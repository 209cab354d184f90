"""Define the input and the output of a factorisation, common to all engines, and its size limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError
from etude.vectors import SizeLimit


@dataclass(frozen=True)
class Size:
    """Hold the approximate size of the interactions (distinct counts within about 2%, in one cheap pass)."""

    users: int
    tracks: int

    @classmethod
    def of(cls, interactions: DataFrame) -> Size:
        """Count users and tracks."""
        found = interactions.agg(
            F.approx_count_distinct("user_idx", 0.02).alias("users"),
            F.approx_count_distinct("track_idx", 0.02).alias("tracks"),
        ).first()
        assert found is not None
        return cls(**found.asDict())


def size_limit(settings: WmfSettings, blocked: bool = False) -> SizeLimit:
    """Return the limit of the factors that one process collects or receives: to fit them, or to fold in on them."""
    advice = "raise it (with the memory of driver and executors, and spark.driver.maxResultSize), or lower wmf.rank"
    another = "; wmf.engine=barrier and mllib have no such limit" if blocked else ""
    return SizeLimit(settings.max_broadcast_mb, "wmf.max_broadcast_mb", advice + another)


def not_finite(what: str, bad: int, rows: int) -> DataCheckError:
    """Return the error that a half sweep, named as in "iteration 3, users", made factors that are not finite."""
    return DataCheckError(
        f"{what}: factors of {bad:,} of {rows:,} rows are not finite; raise wmf.regularization or lower wmf.alpha"
    )


@dataclass(frozen=True)
class Fit:
    """Hold fitted factors and losses.

    Attributes:
        users: user_idx, factors; every user with an interaction.
        tracks: track_idx, factors; every track with an interaction.
        losses: (iteration, loss over all cells), ascending, for the iterations whose loss the engine reports.
    """

    users: DataFrame
    tracks: DataFrame
    losses: list[tuple[int, float]]


@dataclass(frozen=True)
class Earlier:
    """Hold the factors of an earlier fit, from which a fit starts; users and tracks without any start at random.

    Attributes:
        users: user_idx, factors.
        tracks: track_idx, factors.
        name: tells these factors from all others.
    """

    users: DataFrame
    tracks: DataFrame
    name: str

    def of(self, side: str) -> DataFrame:
        """Return the factors of a side, `user` or `track`."""
        return self.users if side == "user" else self.tracks


class Progress(Protocol):
    """Yield iterations and report progress (`JobRun.progress`)."""

    def __call__(self, items: Iterable[int], desc: str, total: int | None = None) -> Iterator[int]:
        """Yield the items one by one."""
        ...


def unwatched(items: Iterable[int], desc: str, total: int | None = None) -> Iterator[int]:  # noqa: ARG001
    """Yield the items without a report."""
    yield from items


class Engine(Protocol):
    """Fit factors to interactions (user_idx, track_idx, play_count; one row per pair, play_count at least 1)."""

    def __call__(
        self,
        interactions: DataFrame,
        settings: WmfSettings,
        folder: str,
        progress: Progress = unwatched,
        earlier: Earlier | None = None,
    ) -> Fit:
        """Return the fitted factors.

        `folder` is the URI of a folder for work in progress, which executors can write. It may hold what an earlier
        attempt left. The frames returned may read from it. The factors of `earlier` have wmf.rank numbers.

        Raises:
            DataCheckError: factors are not finite, or exceed a limit.
            SettingsError: the engine can't start from earlier factors.
        """
        ...
