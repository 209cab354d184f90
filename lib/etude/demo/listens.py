"""Who plays what, how often and when: chunk by chunk, so that memory doesn't grow with the log.

The model. A learner who plays n different tracks meets `exposure` x n, drawn by popularity. Of those the learner
plays the n with the largest `taste` x s_ui + Gumbel noise (which is sampling from a softmax without replacement), a
share `whims` of them without regard to s. This needs a few hundred scores a learner and never the matrix of learners
and tracks: 50 million rows cost minutes. Played tracks are repeated, liked ones more, mostly soon after the first play.

What follows for models: popularity acts through exposure alone, a track that a learner never met is not played however
much it would be liked, and very active learners, who meet most of a small catalogue, are less choosy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from etude.config.demo import DemoSettings
from etude.demo.latent import Learners, Tracks, generator, taste_space

CHUNK_CANDIDATES = 4_000_000
"""Tracks met (with their scores) held in memory at a time: about 0.5 GB."""
DAY_S = 86_400


@dataclass(frozen=True)
class Plays:
    """Rows of the log, ordered by time within the chunk."""

    user: NDArray[np.int64]
    """(n,) learner, 0 to U-1."""
    track: NDArray[np.int64]
    """(n,) track, 0 to T-1."""
    played_at: NDArray[np.int64]
    """(n,) seconds since 1970, UTC."""
    play_count: NDArray[np.int64]
    """(n,) times played in a row, at least 1."""


def chunks(settings: DemoSettings, tracks: Tracks, learners: Learners) -> tuple[int, Iterator[Plays]]:
    """Number of chunks, and the chunks; where they are cut and what they hold depends on the settings alone."""
    pairs = _tracks_played(settings, learners)
    bounds = _bounds(np.ceil(settings.exposure * pairs))
    user_space, track_space = taste_space(settings, tracks, learners)
    met_by = np.cumsum(tracks.popularity)

    def produce() -> Iterator[Plays]:
        for number, (first, last) in enumerate(pairwise(bounds.tolist())):
            rng = generator(settings.seed, "listens", number)
            user, track, liking = _choose(rng, settings, pairs[first:last], user_space[first:last], track_space, met_by)
            yield _perform(rng, settings, user + first, track, liking, learners.joined)

    return len(bounds) - 1, produce()


def _tracks_played(settings: DemoSettings, learners: Learners) -> NDArray[np.int64]:
    """(U,) different tracks that each learner sets out to play, so that rows come to about `events`."""
    rng = generator(settings.seed, "activity")
    mean = learners.activity * settings.events / settings.repeats
    return np.maximum(1, np.floor(mean + rng.random(len(mean)))).astype(np.int64)


def _bounds(candidates: NDArray) -> NDArray[np.int64]:
    """First learner of each chunk, and the end: at most CHUNK_CANDIDATES tracks met in a chunk, a learner at least."""
    chunk = (np.cumsum(candidates) // CHUNK_CANDIDATES).astype(np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(chunk)) + 1, [len(chunk)]])


def _choose(
    rng: np.random.Generator,
    settings: DemoSettings,
    pairs: NDArray[np.int64],
    user_space: NDArray,
    track_space: NDArray,
    met_by: NDArray,
) -> tuple[NDArray, NDArray, NDArray]:
    """(learner within the chunk, track, s_ui) of each played pair; learners ascending."""
    met = np.ceil(settings.exposure * pairs).astype(np.int64)
    user = np.repeat(np.arange(len(pairs)), met)
    drawn = np.searchsorted(met_by, rng.random(len(user)) * met_by[-1], side="right")
    code = np.unique(user * len(met_by) + np.minimum(drawn, len(met_by) - 1))
    user, track = np.divmod(code, len(met_by))
    liking = np.einsum("ij,ij->i", user_space[user], track_space[track])
    place = np.arange(len(user)) - np.searchsorted(user, np.arange(len(pairs)))[user]
    at_whim = np.floor(settings.whims * pairs + rng.random(len(pairs)))
    whim = np.empty(len(user), dtype=bool)
    whim[np.argsort(user + rng.random(len(user)))] = place < at_whim[user]
    keys = settings.taste * liking + rng.gumbel(size=len(user)) + np.where(whim, 1e3, 0.0)
    order = np.argsort(user * (np.ptp(keys) + 1) - keys)  # by learner, then the largest key first
    chosen = np.sort(order[place < pairs[user]])
    return user[chosen], track[chosen], liking[chosen]


def _perform(
    rng: np.random.Generator,
    settings: DemoSettings,
    user: NDArray,
    track: NDArray,
    liking: NDArray,
    joined: NDArray,
) -> Plays:
    """Rows for the played pairs: each at least once, no two of a learner and track in the same second."""
    zeal = np.exp(0.5 * liking + 0.7 * rng.standard_normal(len(user)))
    extra = rng.poisson((settings.repeats - 1) * zeal / zeal.mean())
    pair = np.repeat(np.arange(len(user)), 1 + extra)
    nth = np.arange(len(pair)) - np.repeat(np.cumsum(1 + extra) - (1 + extra), 1 + extra)
    first = joined[user] + (1 - joined[user]) * rng.random(len(user))
    when = first[pair] + np.where(nth > 0, rng.gamma(np.maximum(nth, 1), 18 / 365), 0.0)
    late = when >= 1  # past the year's end: some other day since the first play
    when = np.where(late, first[pair] + (1 - first[pair]) * rng.random(len(pair)), when)
    played_at = _calendar(rng, settings.calendar_year, when)
    count = rng.geometric(0.85, len(pair))
    order = np.lexsort((pair, played_at))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(pair[order]) != 0) | (np.diff(played_at[order]) != 0)
    kept = order[new]
    return Plays(user[pair][kept], track[pair][kept], played_at[kept], count[kept])


def _calendar(rng: np.random.Generator, year: int, when: NDArray) -> NDArray[np.int64]:
    """Seconds since 1970 for shares of the year: fewer plays on Sundays and in the holidays, most in the afternoon."""
    days = np.arange(np.datetime64(f"{year}-01-01"), np.datetime64(f"{year + 1}-01-01"))
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    sunday = (days.astype(np.int64) + 4) % 7 == 0
    weight = np.where(sunday, 0.6, 1.0) * np.where(np.isin(month, (7, 8, 12)), 0.6, 1.0)
    ends = np.cumsum(weight) / weight.sum()
    day = np.minimum(np.searchsorted(ends, when, side="right"), len(days) - 1)
    afternoon = rng.random(len(when)) < 0.7
    hour = np.where(afternoon, 17.5, 10.5) + np.where(afternoon, 2.2, 1.6) * rng.standard_normal(len(when))
    second = (np.mod(hour, 24) * 3600).astype(np.int64)
    return np.asarray(days[day].astype("datetime64[D]").astype(np.int64) * DAY_S + np.minimum(second, DAY_S - 1))
