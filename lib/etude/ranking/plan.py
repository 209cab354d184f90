"""Define the input of a ranking task beside users: the model of the lists, the measured models, and their slices.

Candidates form disjoint parts: head, tail, cold and unplayed tracks if models are measured, otherwise warm and cold
tracks. A slice restricts the candidates before ranking. Every slice is a union of parts, so each part is searched once,
and a slice's list is merged from its parts' lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from etude.hashing import uniforms
from etude.search.candidates import Candidates, Floats, Ints
from etude.search.cap import Cap

PARTS = ("head", "tail", "cold", "warm", "unplayed")
"""Names of the parts. head and tail: warm tracks, split by plays; cold: tracks without fitted factors, known by their
content only (under paper the test tracks, whose plays WMF saw); warm: head and tail together; unplayed: tracks of the
catalogue that nobody played, which are served but can't be hit."""
NO_PART = 255
SLICES: dict[str, tuple[str, ...]] = {
    "all": ("head", "tail", "cold", "warm"),
    "catalogue": PARTS,
    "warm": ("head", "tail", "warm"),
    "cold": ("cold",),
    "head": ("head",),
    "tail": ("tail",),
}
LEVELS = {"0": 0, "1": 1, "2_3": 2, "4_7": 4, "8_15": 8, "16": 16}
"""Names of the levels of tracks by their listeners in the training plays, with the least number of each."""
SOURCES = ("cold", "light", "warm", "popularity")
"""What a listed track's place rests on. cold: its content alone; light: plays of at most three users; warm: plays of
more; popularity: the list has no need of factors."""
_SOURCE_OF_LEVEL = np.array([0 if least == 0 else 1 if least < 4 else 2 for least in LEVELS.values()], np.int32)
"""Position in LEVELS -> position in SOURCES."""
_RANDOM_RANK = 8


@dataclass(frozen=True)
class Model:
    """Describe a model that ranks by inner products.

    Attributes:
        name: name in the table `metrics`.
        users: a user's vector: factors, the number 1 (the same list for all users), random numbers, or which of the
            tracks `of_tracks` the user has heard.
        parts: the candidates of each part that it can score; all others rank behind them.
        slices: slices on which it is measured.
        seed: seed of the model, for the table `metrics`.
        of_tracks: (d,) track indices, ascending, whose plays are the places of a user's vector of heard tracks.
    """

    name: str
    users: Literal["factors", "ones", "random", "heard"]
    parts: dict[str, Candidates]
    slices: tuple[str, ...]
    seed: int = 0
    of_tracks: Ints = field(default_factory=lambda: np.empty(0, np.int32))

    @property
    def needs_factors(self) -> bool:
        """Whether users without factors, who have no training plays either, have no list of this model."""
        return self.users in ("factors", "heard")


@dataclass(frozen=True)
class Plan:
    """Hold the input of a ranking task, except the users.

    Attributes:
        final: the model whose lists are written; the first of `models` if models are measured.
        fallback: the model that replaces a model that needs factors, for users without factors: popularity, which lists
            warm tracks only (under paper the test tracks).
        n: length of the lists.
        cold_shares: least and largest share of cold tracks.
        models: the measured models; empty if nothing is measured.
        cuts: the k of the metrics, ascending.
        part_of: (T,) uint8 by track index: position in PARTS, NO_PART if the track is no candidate.
        bits: (T,) float32: -log2 of the track's share of the training plays.
        level_of: (T,) uint8 by track index: position in LEVELS.
        repeats: length of the lists of heard tracks; 0 for none.
        per_user: whether a task returns each user's metrics, beside their sums.
        cap: limit of tracks per artist in every list; None for no limit.
    """

    final: Model
    fallback: Model
    n: int
    cold_shares: tuple[float, float]
    models: tuple[Model, ...]
    cuts: tuple[int, ...]
    part_of: npt.NDArray[np.uint8]
    bits: Floats
    level_of: npt.NDArray[np.uint8]
    repeats: int = 0
    per_user: bool = False
    cap: Cap | None = None

    @property
    def longest(self) -> int:
        """Return the length of the parts' lists."""
        return max((self.n, *self.cuts))

    @cached_property
    def source_of(self) -> Ints:
        """Return the source of each track, a position in SOURCES, for lists that need factors: (T,) int32."""
        by_content = np.isin(self.part_of, [PARTS.index("cold"), PARTS.index("unplayed")])
        return np.where(by_content, np.int32(SOURCES.index("cold")), _SOURCE_OF_LEVEL[self.level_of])

    @cached_property
    def candidates(self) -> Ints:
        """Return the indices of all tracks that can be listed, ascending int32."""
        return np.flatnonzero(self.part_of != NO_PART).astype(np.int32)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Return the number of candidates of each slice."""
        of_part = np.bincount(self.part_of, minlength=NO_PART + 1)
        return {name: int(sum(of_part[PARTS.index(part)] for part in parts)) for name, parts in SLICES.items()}


def levels_of(listeners: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the level of tracks with these numbers of listeners: positions in LEVELS."""
    return (np.searchsorted(list(LEVELS.values()), listeners, side="right") - 1).astype(np.uint8)


def random_users(seed: int, user_idx: Ints) -> Floats:
    """Return user factors for the random baseline (U, 8): each user orders `random_tracks` differently."""
    return (2 * uniforms(seed, "random list, user", user_idx[:, None], np.arange(_RANDOM_RANK)) - 1).astype(np.float32)


def random_tracks(seed: int, tracks: Ints) -> Floats:
    """Return track factors for the random baseline (C, 8), all of norm 1 so that no track is favoured."""
    rows = 2 * uniforms(seed, "random list, track", tracks[:, None], np.arange(_RANDOM_RANK)) - 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
