"""Simulate plays: tracks, counts and times per learner, in chunks, so that memory doesn't grow with the log.

A learner who plays n different tracks meets `exposure` x n tracks, drawn by popularity. Of those the learner plays the
n with the largest `taste` x s_ui + Gumbel noise, which samples from a softmax without replacement. A share `whims` is
picked without regard to s. This needs a few hundred scores per learner and never the matrix of learners and tracks:
50 million rows take minutes. Played tracks are repeated, liked ones more often, mostly soon after the first play.

Consequences for models: popularity acts only through exposure, and a learner never plays a track that the learner
didn't meet. Very active learners, who meet most of a small catalogue, are less selective.
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
"""Largest number of met tracks (with their scores) in memory at a time: about 0.5 GB."""
DAY_S = 86_400


@dataclass(frozen=True)
class Plays:
    """Hold rows of the log, ordered by time within the chunk."""

    user: NDArray[np.int64]
    """(n,) learner, 0 to U-1."""
    track: NDArray[np.int64]
    """(n,) track, 0 to T-1."""
    played_at: NDArray[np.int64]
    """(n,) seconds since 1970, UTC."""
    play_count: NDArray[np.int64]
    """(n,) consecutive plays, at least 1."""


def chunks(settings: DemoSettings, tracks: Tracks, learners: Learners) -> tuple[int, Iterator[Plays]]:
    """Return the number of chunks, and the chunks; their bounds and contents depend only on the settings."""
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
    """Return the number of different tracks per learner, (U,), for about `events` rows in total."""
    rng = generator(settings.seed, "activity")
    mean = learners.activity * settings.events / settings.repeats
    return np.maximum(1, np.floor(mean + rng.random(len(mean)))).astype(np.int64)


def _bounds(candidates: NDArray) -> NDArray[np.int64]:
    """Return the first learner of each chunk, and the end: about CHUNK_CANDIDATES tracks met, at least one learner."""
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
    """Draw the played pairs: learner within the chunk (ascending), track and s_ui."""
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
    order = np.argsort(user * (np.ptp(keys) + 1) - keys)  # by learner, then by descending key
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
    """Draw the rows of the played pairs: at least one each, and none at the same second as another of its pair."""
    zeal = np.exp(0.5 * liking + 0.7 * rng.standard_normal(len(user)))
    extra = rng.poisson((settings.repeats - 1) * zeal / zeal.mean())
    pair = np.repeat(np.arange(len(user)), 1 + extra)
    nth = np.arange(len(pair)) - np.repeat(np.cumsum(1 + extra) - (1 + extra), 1 + extra)
    first = joined[user] + (1 - joined[user]) * rng.random(len(user))
    when = first[pair] + np.where(nth > 0, rng.gamma(np.maximum(nth, 1), 18 / 365), 0.0)
    late = when >= 1  # after the end of the year: draw a day since the first play
    when = np.where(late, first[pair] + (1 - first[pair]) * rng.random(len(pair)), when)
    played_at = _calendar(rng, settings.calendar_year, when)
    count = rng.geometric(0.85, len(pair))
    order = np.lexsort((pair, played_at))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(pair[order]) != 0) | (np.diff(played_at[order]) != 0)
    kept = order[new]
    return Plays(user[pair][kept], track[pair][kept], played_at[kept], count[kept])


def _calendar(rng: np.random.Generator, year: int, when: NDArray) -> NDArray[np.int64]:
    """Map shares of the year to seconds since 1970: fewer plays on Sundays and in holidays, most in the afternoon."""
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
