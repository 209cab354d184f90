"""Measure batches of users: each user's metrics, and their sums, a few hundred numbers per task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from etude.lake.metrics import Metric
from etude.ranking import metrics
from etude.ranking.metrics import Bools, Counts, Doubles
from etude.ranking.plan import LEVELS, PARTS, SLICES, SOURCES, Model, Plan
from etude.search.candidates import Ints, Longs, Pairs

_COLD = SOURCES.index("cold")
_MIXED = ("all", "catalogue")
"""The slices that hold warm and cold tracks."""
_UNSEEN = 255


@cache
def layout(cuts: tuple[int, ...]) -> dict[tuple[str, int], int]:
    """Return the position of each (metric, k) in a vector of sums; k is 0 for metrics without k."""
    users = ("users", "users_left_out", "users_without_factors", "users_with_auc", "users_with_cold")
    single = [(name, 0) for name in (*users, "auc")]
    single += [(f"relevant_{level}", 0) for level in LEVELS]
    mixed = ("cold_share", "light_share", "cold_recall", *(f"found_{level}" for level in LEVELS))
    at_k = [(name, k) for name in (*metrics.LIST_METRICS, "novelty", *mixed) for k in cuts]
    return {key: place for place, key in enumerate(single + at_k)}


@cache
def user_metrics(cuts: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """Return the (metric, k) that have a value per user, in column order; k is 0 for auc."""
    return (*((name, k) for name in metrics.LIST_METRICS for k in cuts), ("auc", 0))


class SliceSums:
    """Add up one model's metrics on one slice over users, and collect the tracks that its lists show."""

    def __init__(self, plan: Plan, slice_: str):
        """Start with no users."""
        self.plan, self.slice = plan, slice_
        self.place = layout(plan.cuts)
        self.sums = np.zeros(len(self.place))
        # By track: the first of the cuts within which some user's list has it.
        self.seen = np.full(len(plan.part_of), _UNSEEN, dtype=np.uint8)

    def relevant(self, pairs: Pairs) -> Pairs:
        """Return the pairs whose track is a candidate of the slice."""
        parts = [PARTS.index(part) for part in SLICES[self.slice]]
        inside = np.isin(self.plan.part_of[pairs.tracks], parts)
        return Pairs(pairs.rows[inside], pairs.tracks[inside])

    def add(
        self, tracks: Ints, relevant: Pairs, wins: Callable[[Pairs], Doubles], stood_in: bool = False
    ) -> tuple[Longs, Doubles]:
        """Add a batch.

        Args:
            tracks: (U, K) the lists on this slice, -1 at the end of short lists.
            relevant: pairs of this slice only.
            wins: returns `wins` of pairs, for AUC; called on the cold slice only.
            stood_in: whether the fallback made the lists, because the users have no factors.

        Returns:
            Rows (N,) int64 of the counted users, who have relevant tracks on the slice, and their metrics (N, M)
            float64 in the order of `user_metrics`. AUC is NaN if it is undefined, and on slices other than cold.
        """
        counts = np.bincount(relevant.rows, minlength=len(tracks))
        some = np.flatnonzero(counts)
        self._put("users", len(some))
        self._put("users_left_out", len(tracks) - len(some))
        self._put("users_without_factors", len(some) if stood_in else 0)
        values = np.full((len(some), len(user_metrics(self.plan.cuts))), np.nan, order="F")
        if not len(some):
            return some, values
        mine = relevant.of_rows(some, len(tracks))
        tracks, counts = tracks[some], counts[some]
        hits = hits_of(tracks, mine)
        for column, (name, k) in enumerate(user_metrics(self.plan.cuts)):
            if name in metrics.LIST_METRICS:
                values[:, column] = metrics.LIST_METRICS[name](hits, counts, k)
                self._put(name, values[:, column].sum(), k)
        listed = tracks >= 0
        bits = self.plan.bits[tracks]
        self._put_at_k("novelty", lambda k: metrics.mean_over_list(bits, listed, k))
        for number, k in enumerate(self.plan.cuts):
            shown = tracks[:, :k][listed[:, :k]]
            self.seen[shown] = np.minimum(self.seen[shown], number)
        if self.slice in _MIXED:
            self._add_shares(tracks, hits, mine)
            self._add_found(tracks, hits, mine)
        if self.slice == "cold":
            auc = values[:, user_metrics(self.plan.cuts).index(("auc", 0))]
            auc[:] = metrics.auc(wins(relevant)[some], counts, self.plan.sizes["cold"])
            self._put("auc", np.nansum(auc))
            self._put("users_with_auc", np.isfinite(auc).sum())
        return some, values

    def _add_shares(self, tracks: Ints, hits: Bools, relevant: Pairs) -> None:
        """Add the measures of cold and light tracks in a list that also holds warm ones."""
        listed, sources = tracks >= 0, self.plan.source_of[tracks]
        for name in ("cold", "light"):
            mask = listed & (sources == SOURCES.index(name))
            self._put_at_k(f"{name}_share", partial(metrics.mean_over_list, mask.astype(np.float64), listed))
        cold_pairs = relevant.rows[self.plan.source_of[relevant.tracks] == _COLD]
        counts: Counts = np.bincount(cold_pairs, minlength=len(tracks))
        some = counts > 0
        self._put("users_with_cold", some.sum())
        self._put_at_k("cold_recall", lambda k: metrics.recall((hits & (sources == _COLD))[some], counts[some], k))

    def _add_found(self, tracks: Ints, hits: Bools, relevant: Pairs) -> None:
        """Add the relevant pairs and the hits of tracks of each level."""
        relevant_at = self.plan.level_of[relevant.tracks]
        for number, level in enumerate(LEVELS):
            self._put(f"relevant_{level}", (relevant_at == number).sum())
            found = hits & (self.plan.level_of[tracks] == number)
            for k in self.plan.cuts:
                self._put(f"found_{level}", found[:, :k].sum(), k)

    def _put(self, name: str, value: float, k: int = 0) -> None:
        self.sums[self.place[name, k]] += value

    def _put_at_k(self, name: str, values: Callable[[int], Doubles]) -> None:
        for k in self.plan.cuts:
            self._put(name, values(k).sum(), k)


def hits_of(tracks: Ints, relevant: Pairs) -> Bools:
    """Return whether each listed track is relevant to the user: (U, K) bool."""
    rows = np.repeat(np.arange(len(tracks)), tracks.shape[1])
    return relevant.hold(rows, tracks.ravel()).reshape(tracks.shape)


def figures(plan: Plan, model: Model, slice_: str, sums: Doubles, seen: Counts) -> Iterator[Metric]:
    """Yield rows of the table `metrics` from the sums over all users.

    Args:
        plan: the plan that was ranked.
        model: the measured model.
        slice_: name of the slice.
        sums: sums in the order of `layout`.
        seen: (len(cuts),) number of distinct tracks that the lists hold within each cut.
    """
    place = layout(plan.cuts)

    def total(name: str, k: int = 0) -> float:
        return float(sums[place[name, k]])

    def row(name: str, value: float, k: int = 0) -> Metric:
        return Metric(model.name, slice_, name, value, k=k, seed=model.seed)

    users = total("users")
    yield row("users", users)
    yield row("users_left_out", total("users_left_out"))
    if model.needs_factors:
        yield row("users_without_factors", total("users_without_factors"))
    yield row("candidates", plan.sizes[slice_])
    if not users:
        return
    if slice_ == "cold" and total("users_with_auc"):
        yield row("auc", total("auc") / total("users_with_auc"))
    for number, k in enumerate(plan.cuts):
        for name in (*metrics.LIST_METRICS, "novelty"):
            yield row(name, total(name, k) / users, k)
        yield row("coverage", float(seen[number]) / plan.sizes[slice_], k)
        if slice_ in _MIXED:
            yield row("cold_share", total("cold_share", k) / users, k)
            yield row("light_share", total("light_share", k) / users, k)
            if total("users_with_cold"):
                yield row("cold_recall", total("cold_recall", k) / total("users_with_cold"), k)
            for level in LEVELS:
                if total(f"relevant_{level}"):
                    yield row(f"found_{level}", total(f"found_{level}", k) / total(f"relevant_{level}"), k)


def seen_within(seen: npt.NDArray[np.integer], cuts: tuple[int, ...]) -> Counts:
    """Return the number of distinct tracks within each cut (len(cuts),), from the first cut that shows each track."""
    return np.cumsum(np.bincount(seen, minlength=_UNSEEN + 1)[: len(cuts)])
