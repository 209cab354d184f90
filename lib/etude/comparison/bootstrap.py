"""Compute the figures of networks with intervals: users and tracks are drawn anew together, seeds are averaged.

Both users and held-out tracks are samples, so both are drawn with replacement, independently, and a pair counts as
often as its user and its track were drawn (the pigeonhole bootstrap, Owen 2007; its intervals are rather too wide). All
networks see the same draws, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etude.comparison.contest import Contest, Judged
from etude.ranking.metrics import Doubles

ERRORS = ("mse", "rmse", "mae", "msle")
_LEVEL = 95


@dataclass(frozen=True)
class Interval:
    """Hold a figure, the 95% interval of its bootstrap replicates, and its standard deviation over seeds."""

    value: float
    low: float
    high: float
    over_seeds: float


@dataclass(frozen=True)
class Difference:
    """Hold by how much one network's figure exceeds another's.

    Attributes:
        value: the difference.
        low, high: its 95% interval.
        p: two-sided: twice the share of replicates on the rarer side of 0, at least 2 / replicates; replicates in which
            a figure isn't defined don't count, and it is NaN if all are such.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Figures:
    """Hold the figures of all networks of a contest.

    Attributes:
        networks: names, in the order of the arrays' first axis.
        names: names of the figures, such as recall@20, in the order of the last axis.
        values: (N, F) means over seeds.
        over_seeds: (N, F) standard deviations over seeds; 0 with one seed.
        draws: (B, N, F) the same means in the bootstrap replicates.
    """

    networks: tuple[str, ...]
    names: tuple[str, ...]
    values: Doubles
    over_seeds: Doubles
    draws: Doubles

    def interval(self, network: str, name: str) -> Interval:
        """Return a network's figure."""
        n, f = self.networks.index(network), self.names.index(name)
        low, high = _ends(self.draws[:, n, f])
        return Interval(float(self.values[n, f]), low, high, float(self.over_seeds[n, f]))

    def difference(self, network: str, other: str, name: str) -> Difference:
        """Return the figure of `network` less that of `other`."""
        one, two, f = self.networks.index(network), self.networks.index(other), self.names.index(name)
        draws = self.draws[:, one, f] - self.draws[:, two, f]
        finite = draws[np.isfinite(draws)]
        rarer = min((finite <= 0).mean(), (finite >= 0).mean()) if len(finite) else np.nan
        p = float(np.clip(2 * rarer, 2 / max(1, len(finite)), 1))
        return Difference(float(self.values[one, f] - self.values[two, f]), *_ends(draws), p)


def figure_names(cuts: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the figures: errors, AUC, and precision, recall and F1 at each cut."""
    return (*ERRORS, "auc", *(f"{name}@{k}" for name in ("precision", "recall", "f1") for k in cuts))


def compare(
    contest: Contest, judged: Mapping[str, Sequence[Judged]], cuts: Sequence[int], replicates: int, seed: int
) -> Figures:
    """Compute the figures of every network, and of every replicate.

    Errors are means over the factors of those tracks of which every network that predicts factors predicts them. AUC,
    precision, recall and F1 are means over users with relevant tracks; see docs/method.md.

    Args:
        contest: what the networks were judged by.
        judged: network -> its judgements, one per seed.
        cuts: lengths of lists.
        replicates: number of replicates, B.
        seed: of the draws.
    """
    everything = [each for seeds in judged.values() for each in seeds]
    sizes = [len(seeds) for seeds in judged.values()]
    sample = _Sample(contest, everything, tuple(cuts))
    own = sample.figures(np.ones(len(contest.users)), np.ones(contest.candidates))
    values = np.array([seeds.mean(axis=0) for seeds in _by_network(own, sizes)])
    spread = np.array([_deviation(seeds) for seeds in _by_network(own, sizes)])
    rng = np.random.default_rng(seed)
    draws = np.empty((replicates, *values.shape))
    for number in range(replicates):
        users, tracks = (_drawn(rng, n) for n in (len(contest.users), contest.candidates))
        found = sample.figures(users, tracks)
        draws[number] = [seeds.mean(axis=0) for seeds in _by_network(found, sizes)]
    return Figures(tuple(judged), figure_names(cuts), values, spread, draws)


class _Sample:
    """Hold the values of pairs and tracks, of which a replicate takes weighted sums."""

    def __init__(self, contest: Contest, judged: Sequence[Judged], cuts: tuple[int, ...]):
        self.cuts = cuts
        self.rows = contest.relevant.rows
        self.columns = np.searchsorted(contest.targets.idx, contest.relevant.tracks)
        n = contest.candidates
        of_users = np.bincount(self.rows, minlength=len(contest.users))
        self.counted = of_users > 0
        self.relevant = of_users[self.rows]
        # The share of the candidates that aren't relevant behind the track; metrics.auc is its mean over the user's
        # pairs. A user to whom every candidate is relevant has no AUC.
        ahead = np.stack([each.ahead for each in judged])
        self.has_auc = self.relevant < n
        self.behind = ((n - 0.5 - ahead - self.relevant / 2) / np.maximum(n - self.relevant, 1)).astype(np.float32)
        # (cuts, judgements, P)
        self.hits = np.stack([[each.hits(k) for each in judged] for k in cuts]).astype(np.float32)
        predicted = [each.cells[0] > 0 for each in judged if each.cells.any()]
        common = np.logical_and.reduce(predicted) if predicted else np.zeros(n, bool)
        self.errors = np.stack([each.errors for each in judged]) * common
        self.cells = np.stack([each.cells for each in judged]) * common

    def figures(self, users: Doubles, tracks: Doubles) -> Doubles:
        """Return the figures of every judgement, (M, F), where users (U,) and tracks (T,) have these weights."""
        return np.concatenate([self._errors(tracks), self._rankings(users, tracks)], axis=1)

    def _errors(self, tracks: Doubles) -> Doubles:
        cells = self.cells @ tracks
        sums = np.where(cells > 0, self.errors @ tracks, np.nan)
        mse, mae, msle = (sums / np.where(cells > 0, cells, 1)).T
        return np.stack([mse, np.sqrt(mse), mae, msle], axis=1)

    def _rankings(self, users: Doubles, tracks: Doubles) -> Doubles:
        """Return the figures as ratios of sums over pairs, so that no user leaves one whose tracks weren't drawn."""
        of_pairs = users[self.rows] * tracks[self.columns]
        shares = of_pairs / self.relevant
        whole, drawn = float(shares.sum()), float(users[self.counted].sum())
        of_auc = shares * self.has_auc
        columns = [_ratio(self.behind @ of_auc, float(of_auc.sum()))]
        columns += [_ratio(hits @ of_pairs / k, drawn) for k, hits in zip(self.cuts, self.hits, strict=True)]
        columns += [_ratio(hits @ shares, whole) for hits in self.hits]
        columns += [
            _ratio(hits @ (2 * of_pairs / (k + self.relevant)), drawn)
            for k, hits in zip(self.cuts, self.hits, strict=True)
        ]
        return np.stack(columns, axis=1)


def _ratio(sums: Doubles, total: float) -> Doubles:
    return np.asarray(sums / (total or np.nan))


def _by_network(figures: Doubles, sizes: Sequence[int]) -> Iterator[Doubles]:
    yield from np.split(figures, np.cumsum(sizes)[:-1])


def _deviation(seeds: Doubles) -> Doubles:
    return np.asarray(seeds.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros(seeds.shape[1]))


def _drawn(rng: np.random.Generator, n: int) -> Doubles:
    """Return how often each of n things is drawn in n draws with replacement."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def _ends(draws: Doubles) -> tuple[float, float]:
    rest = (100 - _LEVEL) / 2
    low, high = np.nanpercentile(draws, [rest, 100 - rest]) if np.isfinite(draws).any() else (np.nan, np.nan)
    return float(low), float(high)
