"""Choose how much content counts in a blend, on the validation plays of a sample of users.

What is maximised is the expected discounted gain of a user's next play: the mean of 1 / log2(1 + rank) over withheld
plays, 0 beyond rank LONGEST, with the rank among all candidates that the user hasn't heard. Plays of played tracks and
of tracks without plays are averaged apart, D_played and D_new, because the split withholds all plays of a validation
track and few of any other track:

    D = (1 - s) D_played + s D_new,      s: the share of tracks without plays in the plays to come

Weight and length of the prior are chosen by D_played among played tracks alone, then the length of tracks without plays
by D in the merged lists. Discounts are those of NDCG (Jarvelin & Kekalainen 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from etude.search.candidates import Candidates, Floats, Ints, Pairs
from etude.search.exact import top_n
from etude.search.merge import merge
from etude.vectors import Factors

LONGEST = 100
WEIGHTS = (1.0, 3.0, 10.0)
PLAYED_LENGTHS = (1.0, 2.0, 3.0)
UNPLAYED_LENGTHS = tuple(round(0.1 * 1.25**step, 3) for step in range(18))
"""From 0.1 to 4.4, each a quarter longer than the one before."""


@dataclass(frozen=True)
class Choice:
    """Hold how content counts: m in units of the fit's regularization, a and b (see prior.py)."""

    weight: float
    played_length: float
    unplayed_length: float


DEFAULT = Choice(3.0, 2.0, 0.5)
"""For a lake without an evaluated blend. Measured: decision 0012."""


@dataclass(frozen=True)
class Sample:
    """Hold the users on whose withheld plays a choice is made.

    Attributes:
        users: (U, rank) float32.
        heard: pairs of row and track in the training plays.
        withheld: pairs of row and track in the validation plays.
    """

    users: Floats
    heard: Pairs
    withheld: Pairs


@dataclass(frozen=True)
class Chosen:
    """Hold a choice, the factors of the played tracks under it, and the mean gains of plays (nan: no such play)."""

    choice: Choice
    played: Factors
    gain_played: float = float("nan")
    gain_new: float = float("nan")
    new_share: float = float("nan")


def choose(
    sample: Sample,
    solve: Callable[[Factors, float], Factors],
    content: Factors,
    candidates_new: Ints,
    fixed: dict[str, float],
    new_share: float | None,
) -> Chosen:
    """Choose weight and lengths; what can't be chosen for lack of withheld plays is that of DEFAULT.

    Args:
        sample: users with their plays.
        solve: (a g, weight) -> factors of the played tracks, as PlayedTracks.solve.
        content: g of every track.
        candidates_new: tracks without training plays that may be listed, int32.
        fixed: values of Choice, by name, that are not to be chosen.
        new_share: s; None for the share of the sample's plays that validation tracks have.
    """
    of_new = np.isin(sample.withheld.tracks, candidates_new)
    counts = len(of_new) - int(of_new.sum()), int(of_new.sum())
    weights = _options("weight", WEIGHTS, fixed, counts[0])
    lengths = _options("played_length", PLAYED_LENGTHS, fixed, counts[0])
    best: tuple[float, Choice, Factors, tuple[Ints, Floats]] | None = None
    for weight in weights:
        for length in lengths:
            played = solve(content.scaled(length), weight)
            lists = _lists(sample, played)
            gain = _mean(gains(lists[0], sample.withheld)[~of_new])
            if best is None or gain > best[0]:
                best = gain, Choice(weight, length, DEFAULT.unplayed_length), played, lists
    assert best is not None
    _, choice, played, lists = best
    if new_share is None:
        new_share = counts[1] / max(1, counts[1] + counts[0] + len(sample.heard.rows))
    new = _lists(sample, content.among(candidates_new))
    found = []
    for length in _options("unplayed_length", UNPLAYED_LENGTHS, fixed, counts[1]):
        scores = np.multiply(new[1], np.float32(length), out=new[1].copy(), where=new[0] >= 0)
        merged, _ = merge([lists, (new[0], scores)], LONGEST)
        of_pairs = gains(merged, sample.withheld)
        of_kinds = _mean(of_pairs[~of_new]), _mean(of_pairs[of_new])
        found.append((length, *of_kinds, (1 - new_share) * np.nan_to_num(of_kinds[0]) + new_share * of_kinds[1]))
    length, gain_played, gain_new, _ = max(found, key=lambda each: np.nan_to_num(each[3]))
    choice = Choice(choice.weight, choice.played_length, length)
    return Chosen(choice, played, gain_played, gain_new, new_share)


def gains(lists: Ints, withheld: Pairs) -> np.ndarray:
    """Return 1 / log2(1 + rank) of each withheld pair, 0 if its list doesn't hold it: (P,) float64.

    Args:
        lists: (U, n) int32 tracks, best first, -1 at the end of short lists.
        withheld: pairs of row and track.
    """
    rows, n = np.arange(len(lists))[:, None], lists.shape[1]
    codes = ((rows << 32) + lists)[lists >= 0]
    rank = np.broadcast_to(np.arange(1, n + 1), lists.shape)[lists >= 0]
    order = np.argsort(codes)
    wanted = (withheld.rows << 32) + withheld.tracks
    at = np.minimum(np.searchsorted(codes[order], wanted), max(0, len(codes) - 1))
    if not len(codes):
        return np.zeros(len(wanted))
    return np.where(codes[order][at] == wanted, 1 / np.log2(1 + rank[order][at]), 0.0)


def _options(name: str, grid: Sequence[float], fixed: dict[str, float], plays: int) -> tuple[float, ...]:
    """Return the values to try: the fixed one, that of DEFAULT if no play can decide, or the grid."""
    if name in fixed:
        return (fixed[name],)
    return tuple(grid) if plays else (getattr(DEFAULT, name),)


def _lists(sample: Sample, tracks: Factors) -> tuple[Ints, Floats]:
    return top_n(sample.users, Candidates.of(tracks.idx, tracks.values), LONGEST, sample.heard)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
