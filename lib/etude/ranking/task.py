"""Rank and measure the users of one Spark task batch by batch, in memory that doesn't grow with their number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etude.ranking.metrics import Doubles
from etude.ranking.plan import NO_PART, SLICES, SOURCES, Model, Plan, random_users
from etude.ranking.sums import SliceSums
from etude.ranking.wins import wins
from etude.search.among import top_n_among
from etude.search.candidates import NOTHING, Floats, Ints, Longs, Pairs
from etude.search.exact import top_n
from etude.search.merge import List, merge, merge_with_quota


@dataclass(frozen=True)
class Users:
    """Hold a batch of users.

    Attributes:
        user_idx: (U,) int32.
        factors: (U, rank) float32; zeros if the user has none, NaN if they are unusable.
        heard: pairs of batch row and track that may not be listed.
        relevant: pairs of batch row and track that a good list holds; empty if nothing is measured.
        played: pairs that a list of repeats may hold; empty if there are no such lists.
    """

    user_idx: Ints
    factors: Floats
    heard: Pairs
    relevant: Pairs
    played: Pairs = NOTHING

    def some(self, rows: Longs) -> Users:
        """Return the users at the (ascending) rows."""
        height = len(self.user_idx)
        pairs = (each.of_rows(rows, height) for each in (self.heard, self.relevant, self.played))
        return Users(self.user_idx[rows], self.factors[rows], *pairs)


@dataclass
class Checks:
    """Collect the counts of a task.

    Attributes:
        users: users with a list.
        fallback: users whose list is by popularity.
        rows: tracks in all lists.
        repeats: tracks in all lists of repeats.
        cold: those of source cold.
        light: those of source light.
        short: users whose list is shorter than n and than their unheard candidates allow.
        bad_scores: scores that are not finite.
        bad_factors: users whose factors are not finite; they are ranked like users without factors.
        out_of_reach: relevant pairs whose track is no candidate of any slice.
    """

    users: int = 0
    fallback: int = 0
    rows: int = 0
    repeats: int = 0
    cold: int = 0
    light: int = 0
    short: int = 0
    bad_scores: int = 0
    bad_factors: int = 0
    out_of_reach: int = 0


class UserValues(NamedTuple):
    """Hold one model's metrics on one slice, per user.

    Attributes:
        model: name of the model.
        slice: name of the slice.
        user_idx: (N,) int32, the counted users of the slice.
        values: (N, M) float64 in the order of `sums.user_metrics`; AUC is NaN if it is undefined.
    """

    model: str
    slice: str
    user_idx: Ints
    values: Doubles


class Lists(NamedTuple):
    """Hold a list for each user of a batch.

    Attributes:
        tracks: (U, n) int32; -1 at the end of short lists.
        scores: (U, n) float32; -inf at the end of short lists.
        sources: (U, n) int32, positions in SOURCES.
    """

    tracks: Ints
    scores: Floats
    sources: Ints


class Ranked(NamedTuple):
    """Hold what is ranked for a batch of users.

    Attributes:
        lists: the lists.
        repeats: lists of heard tracks; None unless `Plan.repeats`.
        user_values: metrics per user; empty unless `Plan.per_user`.
    """

    lists: Lists
    repeats: Lists | None
    user_values: list[UserValues]


class Task:
    """Rank batches of users and add up their metrics."""

    def __init__(self, plan: Plan):
        """Start with no users."""
        self.plan = plan
        self.checks = Checks()
        self._listable = self._mask(plan.final)
        self._listable_by_popularity = self._mask(plan.fallback)
        self.sums = {(m.name, name): SliceSums(plan, name) for m in plan.models for name in m.slices}

    def rank(self, users: Users) -> Ranked:
        """Rank the candidates for each user, and add up the metrics."""
        shape = len(users.user_idx), self.plan.n
        tracks, scores = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        finite = np.isfinite(users.factors).all(axis=1)
        self.checks.bad_factors += int((~finite).sum())
        has_factors = finite & users.factors.any(axis=1)
        known, others = np.flatnonzero(has_factors), np.flatnonzero(~has_factors)
        user_values: list[UserValues] = []
        for rows, stand_in in ((known, None), (others, self.plan.fallback)):
            if len(rows):
                tracks[rows], scores[rows] = self._rank(users.some(rows), stand_in, user_values)
        sources = self._sources(tracks, known)
        shown = sources[tracks >= 0]
        self.checks.cold += int((shown == SOURCES.index("cold")).sum())
        self.checks.light += int((shown == SOURCES.index("light")).sum())
        self._check(users, known, others, tracks, scores)
        repeats = self._repeats(users, known, others) if self.plan.repeats else None
        return Ranked(Lists(tracks, scores, sources), repeats, user_values)

    def _repeats(self, users: Users, known: Longs, others: Longs) -> Lists:
        """Return the lists of heard tracks, in the order of the model of the lists."""
        plan = self.plan
        shape = len(users.user_idx), plan.repeats
        tracks, scores = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        for rows, model in ((known, plan.final), (others, plan.fallback)):
            some = users.some(rows)
            parts = [candidates for part, candidates in model.parts.items() if part in SLICES["all"]]
            tracks[rows], scores[rows] = top_n_among(_rows(model, some), parts, some.played, plan.repeats, plan.cap)
        self.checks.repeats += int((tracks >= 0).sum())
        return Lists(tracks, scores, self._sources(tracks, known))

    def _sources(self, tracks: Ints, known: Longs) -> Ints:
        """Return what the places of tracks (U, n) rest on; `known` are the rows of users with factors."""
        sources = np.full(tracks.shape, SOURCES.index("popularity"), np.int32)
        sources[known] = self.plan.source_of[tracks[known]]
        return sources

    def _rank(self, users: Users, stand_in: Model | None, user_values: list[UserValues]) -> List:
        """Return the users' lists, and measure them; a stand-in ranks if a model needs factors that they lack."""
        plan = self.plan
        found: dict[tuple[str, int], List] = {}
        for model in plan.models or (plan.final,):
            ranker = stand_in if stand_in is not None and model.needs_factors else model
            lists = self._part_lists(ranker, users, found)
            mixed = self._slice_list("all", lists)
            if model is plan.final:
                final = mixed[0][:, : plan.n], mixed[1][:, : plan.n]
            for name in model.slices if plan.models else ():
                tracks = mixed[0] if name == "all" else self._slice_list(name, lists)[0]
                sums = self.sums[model.name, name]
                relevant = sums.relevant(users.relevant)
                wins_of = partial(self._wins, ranker, users)
                rows, values = sums.add(tracks, relevant, wins_of, stood_in=ranker is not model)
                if plan.per_user:
                    user_values.append(UserValues(model.name, name, users.user_idx[rows], values))
        return final

    def _part_lists(self, model: Model, users: Users, found: dict[tuple[str, int], List]) -> dict[str, List]:
        """Return the list of each of the model's parts; parts that models share are searched once."""
        lists = {}
        for part, candidates in model.parts.items():
            key = model.users, id(candidates)
            if key not in found:
                found[key] = top_n(_rows(model, users), candidates, self.plan.longest, users.heard, self.plan.cap)
            lists[part] = found[key]
        return lists

    def _slice_list(self, name: str, lists: dict[str, List]) -> List:
        longest, cap = self.plan.longest, self.plan.cap
        parts = [part for part in SLICES[name] if part in lists]
        warm = [lists[part] for part in parts if part in SLICES["warm"]]
        cold = [lists[part] for part in parts if part not in SLICES["warm"]]
        if not cold or not warm:
            return merge(cold or warm, longest, cap)
        of_kinds = merge(warm, longest, cap), merge(cold, longest, cap)
        return merge_with_quota(*of_kinds, longest, *self.plan.cold_shares, cap)

    def _wins(self, model: Model, users: Users, pairs: Pairs) -> npt.NDArray[np.float64]:
        cold = model.parts["cold"]
        return wins(_rows(model, users), cold, self.plan.sizes["cold"] - len(cold), pairs)

    def _check(self, users: Users, known: Longs, others: Longs, tracks: Ints, scores: Floats) -> None:
        """Count violations of what every list must satisfy; the driver reports them."""
        counted = self.checks
        counted.users += len(tracks)
        counted.fallback += len(others)
        filled = (tracks >= 0).sum(axis=1)
        counted.rows += int(filled.sum())
        for rows, listable in ((known, self._listable), (others, self._listable_by_popularity)):
            heard = users.heard.of_rows(rows, len(tracks))
            if self.plan.cap is not None:
                room = self.plan.cap.room(listable, heard, len(rows))
            else:
                room = listable.sum() - np.bincount(heard.rows[listable[heard.tracks]], minlength=len(rows))
            counted.short += int((filled[rows] < np.minimum(self.plan.n, room)).sum())
        counted.bad_scores += int((~np.isfinite(scores[tracks >= 0])).sum())
        counted.out_of_reach += int((self.plan.part_of[users.relevant.tracks] == NO_PART).sum())

    def _mask(self, model: Model) -> npt.NDArray[np.bool_]:
        """Return whether each track can be in the model's written lists, those on the slice all: (T,) bool."""
        mask = np.zeros(len(self.plan.part_of), dtype=bool)
        for part in model.parts.keys() & set(SLICES["all"]):
            mask[model.parts[part].tracks] = True
        return mask


def _rows(model: Model, users: Users) -> Floats:
    """Return the users' vectors in this model's inner products."""
    if model.users == "random":
        return random_users(model.seed, users.user_idx)
    if model.users == "heard":
        return _heard_rows(model.of_tracks, users)
    return users.factors if model.users == "factors" else np.ones((len(users.user_idx), 1), np.float32)


def _heard_rows(tracks: Ints, users: Users) -> Floats:
    """Return 1 where a user has heard a track, else 0: (U, len(tracks))."""
    rows = np.zeros((len(users.user_idx), len(tracks)), np.float32)
    known = np.isin(users.heard.tracks, tracks)
    rows[users.heard.rows[known], np.searchsorted(tracks, users.heard.tracks[known])] = 1
    return rows
