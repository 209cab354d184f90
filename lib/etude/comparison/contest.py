"""Judge predicted factors by held-out plays and by the factors that these plays give: values per pair and per track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etude.ranking.metrics import Doubles
from etude.ranking.wins import pair_wins
from etude.search.candidates import Candidates, Floats, Pairs
from etude.vectors import Factors

_CELLS = 1 << 22


@dataclass(frozen=True)
class Contest:
    """Hold what all networks are judged by.

    Attributes:
        users: (U, rank) float32 factors of the users.
        targets: factors of the held-out tracks, which are the candidates.
        relevant: distinct pairs of user row and candidate that was played, by row.
    """

    users: Floats
    targets: Factors
    relevant: Pairs

    @property
    def candidates(self) -> int:
        """Return the number of candidates."""
        return len(self.targets)


@dataclass(frozen=True)
class Judged:
    """Hold the judgement on one set of predicted factors.

    Attributes:
        above: (P,) number of candidates with a higher score than the pair's; those without predicted factors are last.
        tied: (P,) number with the same score, the pair's track included.
        errors: (3, T) per candidate: sums over its factors of the squared, absolute and squared logarithmic error.
        cells: (3, T) number of factors in each sum: 0 if nothing was predicted; the last without those factors for
            which the logarithm of 1 + factor isn't defined.
    """

    above: Doubles
    tied: Doubles
    errors: Doubles
    cells: Doubles

    @property
    def ahead(self) -> Doubles:
        """Return the number of candidates ahead of each pair's track, with half of those that tie: (P,)."""
        return self.above + (self.tied - 1) / 2

    def hits(self, k: int) -> Doubles:
        """Return the chance that each pair's track is among the first k, if ties are broken at random: (P,)."""
        return np.clip((k - self.above) / self.tied, 0, 1)


def judge(contest: Contest, predicted: Factors) -> Judged:
    """Judge predicted factors; tracks that are no candidates are ignored."""
    scored = predicted.among(contest.targets.idx)
    ranked = Candidates.of(scored.idx, scored.values)
    lower, tied = pair_wins(contest.users, ranked, contest.candidates - len(scored), contest.relevant)
    return Judged(contest.candidates - lower - tied, tied, *_errors(contest.targets, scored))


def by_chance(contest: Contest, seed: int) -> Judged:
    """Return the judgement on an order drawn at random for each user."""
    rng = np.random.default_rng(seed)
    users, n = len(contest.users), contest.candidates
    columns = np.searchsorted(contest.targets.idx, contest.relevant.tracks)
    above = np.empty(len(columns))
    step = max(1, _CELLS // max(1, n))
    for start in range(0, users, step):
        mine = slice(*np.searchsorted(contest.relevant.rows, (start, start + step)))
        order = rng.random((min(step, users - start), n)).argsort(axis=1).argsort(axis=1)
        above[mine] = order[contest.relevant.rows[mine] - start, columns[mine]]
    return Judged(above, np.ones(len(above)), np.zeros((3, n)), np.zeros((3, n)))


def _errors(targets: Factors, scored: Factors) -> tuple[Doubles, Doubles]:
    errors, cells = np.zeros((3, len(targets))), np.zeros((3, len(targets)))
    known = np.isin(targets.idx, scored.idx)
    y, p = targets.values[known].astype(np.float64), scored.values.astype(np.float64)
    logarithmic = (y > -1) & (p > -1)
    logs = np.log1p(np.where(logarithmic, p, 0)) - np.log1p(np.where(logarithmic, y, 0))
    for row, values in enumerate((np.square(p - y), np.abs(p - y), np.square(logs))):
        errors[row, known] = values.sum(axis=1)
    cells[:2, known] = targets.rank
    cells[2, known] = logarithmic.sum(axis=1)
    return errors, cells
