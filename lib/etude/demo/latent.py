"""Draw the properties of pieces, artists and learners: the planted ground truth.

The taste of learner u for track i is a sum of independent parts:
s_ui = sum over parts p of sqrt(share_p / d_p) <theta_u^p, x_i^p>.
Theta is standard normal. Each x^p has zero mean and unit variance over the tracks, in each of its d_p dimensions. So
share_p is the share of Var(s) that lies in part p:

- audible: the style variables that `render` synthesises. Artists cluster in schools and tracks vary around their
  artist. So the artist explains `artist_cohesion` of this part, and sound partly identifies the artist.
- artist: a vector of the artist, linearly independent of the artist's style. So sound predicts it only by identifying
  the artist.
- tags: the weighted mean of the vectors of the track's tags, which are independent of sound and artist.
- year: a smooth function of the release year, which varies around the artist's career.
- hidden: specific to the track, and in no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from etude.config.demo import DemoSettings

STYLE = ("register", "tempo", "density", "brightness", "resonance", "sustain", "noise", "mode")
"""Style variables, each standard normal over the tracks; mode is minor below 0 and major above."""
STYLE_TASTE = np.array([1.5, 0.6, 0.3, 1.4, 1.2, 1.5, 1.5, 0.0])
"""Weight of each style variable in the audible part (mean 1); small if a 3 s crop hardly shows the variable."""
PARTS = ("audible", "artist", "tags", "year", "hidden")
OWN_DIMENSIONS = 3
"""Dimensions of the artist, tags and hidden parts."""
TAG_COUNT = 40
TAGS_PER_TRACK = 4
FIRST_YEAR = 1955


@dataclass(frozen=True)
class Tracks:
    """Hold the pieces: T tracks of A artists; row i of every array is track i."""

    artist: NDArray[np.int32]
    """(T,) artist of the track, 0 to A-1."""
    style: NDArray[np.float64]
    """(T, len(STYLE)) style variables, standardised."""
    key: NDArray[np.int8]
    """(T,) tonic as a pitch class, 0 = C; audible, but without effect on taste."""
    tags: NDArray[np.int8]
    """(T, TAGS_PER_TRACK) tag numbers, the most important first, padded with -1."""
    year: NDArray[np.int16]
    """(T,) release year."""
    parts: dict[str, NDArray[np.float32]]
    """Part -> (T, d_p), standardised: x of the module's formula."""
    popularity: NDArray[np.float64]
    """(T,) probability that a learner meets the track; 0 for tracks that nobody has played."""


@dataclass(frozen=True)
class Learners:
    """Hold the U learners; row i of every array is learner i."""

    parts: dict[str, NDArray[np.float32]]
    """Part -> (U, d_p), standard normal: theta of the module's formula."""
    activity: NDArray[np.float64]
    """(U,) the learner's share of all plays."""
    joined: NDArray[np.float64]
    """(U,) earliest time of the learner's first play, as a share of the year."""


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return a random generator for a purpose (and a track, chunk, ...), independent of other draws."""
    return np.random.default_rng([seed, crc32(purpose.encode()), *index])


def share_weights(settings: DemoSettings) -> dict[str, float]:
    """Return part -> sqrt(share_p), the standard deviation of taste in the part."""
    return {part: float(np.sqrt(max(getattr(settings, f"share_{part}"), 0.0))) for part in PARTS}


def plant_tracks(settings: DemoSettings) -> Tracks:
    """Draw artists and tracks; `Tracks` describes the arrays."""
    rng = generator(settings.seed, "tracks")
    artist = _artists_of_tracks(rng, settings.tracks, settings.artist_count)
    style, artist_style = _styles(rng, artist, settings)
    own = _independent_of(artist_style, rng.standard_normal((settings.artist_count, OWN_DIMENSIONS + 1)), artist)
    unheard = np.zeros(settings.tracks, dtype=bool)
    unheard[rng.choice(settings.tracks, int(settings.unheard_tracks * settings.tracks), replace=False)] = True
    year = _years(rng, artist, unheard, settings)
    tags = _tags(rng, settings.tracks)
    phase = 1.5 * np.pi * (year - FIRST_YEAR) / (settings.calendar_year - FIRST_YEAR)
    parts = {
        "audible": _standard(np.where(np.array(STYLE) == "mode", np.sign(style), style)) * np.sqrt(STYLE_TASTE),
        "artist": _standard(own[artist, :OWN_DIMENSIONS]),
        "tags": _standard(_tag_vectors(rng, tags)),
        "year": _standard(np.stack([np.cos(phase), np.sin(phase)], axis=1)),
        "hidden": _standard(rng.standard_normal((settings.tracks, OWN_DIMENSIONS))),
    }
    fame = np.sqrt(0.5) * _standard(own[artist, -1:])[:, 0] + np.sqrt(0.5) * rng.standard_normal(settings.tracks)
    exposure = np.where(unheard, 0.0, np.exp(settings.popularity * fame))
    return Tracks(
        artist=artist,
        style=style,
        key=rng.integers(0, 12, settings.tracks).astype(np.int8),
        tags=tags,
        year=year,
        parts={part: values.astype(np.float32) for part, values in parts.items()},
        popularity=exposure / exposure.sum(),
    )


def plant_learners(settings: DemoSettings) -> Learners:
    """Draw learners; `Learners` describes the arrays."""
    rng = generator(settings.seed, "learners")
    sizes = {"audible": len(STYLE), "year": 2}
    activity = np.exp(0.6 * rng.standard_normal(settings.users))
    joined = np.where(rng.random(settings.users) < 0.6, 0.0, 0.75 * rng.random(settings.users))
    return Learners(
        parts={
            part: rng.standard_normal((settings.users, sizes.get(part, OWN_DIMENSIONS)), dtype=np.float32)
            for part in PARTS
        },
        activity=activity / activity.sum(),
        joined=joined,
    )


def taste_space(settings: DemoSettings, tracks: Tracks, learners: Learners) -> tuple[NDArray, NDArray]:
    """Return vectors whose inner products are s_ui: learners (U, D) and tracks (T, D), float32."""
    weights = share_weights(settings)
    scaled = [tracks.parts[part] * np.float32(weights[part] / np.sqrt(tracks.parts[part].shape[1])) for part in PARTS]
    return np.hstack([learners.parts[part] for part in PARTS]), np.hstack(scaled)


def _standard(values: NDArray) -> NDArray:
    """Standardise each column to zero mean and unit variance; constant columns become 0."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 1e-12, spread, 1.0)


def _artists_of_tracks(rng: np.random.Generator, tracks: int, artists: int) -> NDArray[np.int32]:
    """Assign tracks to artists, (T,): at least one track per artist, the others unevenly."""
    share = np.exp(0.5 * rng.standard_normal(artists))
    rest = rng.choice(artists, tracks - artists, p=share / share.sum())
    return rng.permutation(np.concatenate([np.arange(artists), rest])).astype(np.int32)


def _styles(rng: np.random.Generator, artist: NDArray, settings: DemoSettings) -> tuple[NDArray, NDArray]:
    """Draw styles of tracks (T, S) and artists (A, S): artists vary around schools, tracks around artists."""
    school = rng.integers(0, settings.schools, settings.artist_count)
    centres = rng.standard_normal((settings.schools, len(STYLE)))
    own = rng.standard_normal((settings.artist_count, len(STYLE)))
    artist_style = np.sqrt(0.6) * centres[school] + np.sqrt(0.4) * own
    between = _standard(artist_style[artist])
    within = rng.standard_normal((len(artist), len(STYLE)))
    cohesion = settings.artist_cohesion
    return _standard(np.sqrt(cohesion) * between + np.sqrt(1 - cohesion) * within), artist_style


def _independent_of(artist_style: NDArray, values: NDArray, artist: NDArray) -> NDArray:
    """Return the residual of artists' values (A, d) after regression on their style, weighted by number of tracks."""
    artists = len(values)
    given = np.hstack([np.ones((artists, 1)), artist_style])
    if artists < 3 * given.shape[1]:
        return values  # with so few artists the residual would vanish
    weight = np.sqrt(np.bincount(artist, minlength=artists))[:, None]
    coefficients, *_ = np.linalg.lstsq(given * weight, values * weight, rcond=None)
    return np.asarray(values - given @ coefficients)


def _years(rng: np.random.Generator, artist: NDArray, unheard: NDArray, settings: DemoSettings) -> NDArray[np.int16]:
    career = rng.uniform(FIRST_YEAR + 10, settings.calendar_year - 8, settings.artist_count)
    year = np.rint(career[artist] + 7 * rng.standard_normal(len(artist)))
    year = np.clip(year, FIRST_YEAR, settings.calendar_year - 1)
    return np.where(unheard, settings.calendar_year, year).astype(np.int16)


def _tags(rng: np.random.Generator, tracks: int) -> NDArray[np.int8]:
    """Draw 1 to 4 different tags per track, common tags more often."""
    use = np.log(1.0 / (np.arange(TAG_COUNT) + 5.0))
    keys = use + rng.gumbel(size=(tracks, TAG_COUNT))
    tags = np.argsort(-keys, axis=1)[:, :TAGS_PER_TRACK].astype(np.int8)
    count = rng.integers(1, TAGS_PER_TRACK + 1, tracks)
    return np.where(np.arange(TAGS_PER_TRACK) < count[:, None], tags, np.int8(-1))


def _tag_vectors(rng: np.random.Generator, tags: NDArray[np.int8]) -> NDArray:
    vectors = rng.standard_normal((TAG_COUNT, OWN_DIMENSIONS))
    weight = np.where(tags >= 0, 1.0 / np.arange(1, TAGS_PER_TRACK + 1), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray((weight[:, :, None] * vectors[tags]).sum(axis=1))
