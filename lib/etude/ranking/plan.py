"""What a ranking task has to know: whose lists are made, which models are measured, on which slices.

Candidates come in disjoint parts (head, tail and cold tracks where something is measured, else warm and cold ones). A
slice restricts the candidates before ranking; since every slice is a union of parts, each part is searched once and
the slices' lists are merged from the parts'.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from etude.hashing import uniforms
from etude.ranking.candidates import Candidates, Floats, Ints

PARTS = ("head", "tail", "cold", "warm")
"""head and tail: warm tracks, split by plays; cold: tracks without fitted factors, for which nothing but their content
speaks (under paper the test tracks, whose plays WMF saw); warm: head and tail in one."""
NO_PART = 255
SLICES: dict[str, tuple[str, ...]] = {
    "all": PARTS,
    "warm": ("head", "tail", "warm"),
    "cold": ("cold",),
    "head": ("head",),
    "tail": ("tail",),
}
_RANDOM_RANK = 8


@dataclass(frozen=True)
class Model:
    """Something that ranks: its scores are inner products.

    Attributes:
        name: as in the table `metrics`.
        users: what stands for a user: their WMF factors, the number 1 (the same list for everybody), or random numbers.
        parts: the candidates of each part that it can score; those it can't are ranked behind the others.
        slices: on which slices it is measured.
        seed: seed of the model, for the table `metrics`.
    """

    name: str
    users: Literal["factors", "ones", "random"]
    parts: dict[str, Candidates]
    slices: tuple[str, ...]
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything but the users.

    Attributes:
        final: whose lists are written; the first of `models` where something is measured.
        fallback: what ranks for users without factors wherever a model needs them: popularity, which lists warm tracks
            only (under paper the test tracks).
        n: length of the lists.
        cold_share: least share of cold tracks.
        models: what is measured; empty where nothing is.
        cuts: the k of the metrics, ascending.
        part_of: (T,) uint8 by track index: position in PARTS, NO_PART where the track is no candidate.
        bits: (T,) float32: -log2 of the track's share of the training plays.
        per_user: whether each user's metrics are handed on, beside their sums.
    """

    final: Model
    fallback: Model
    n: int
    cold_share: float
    models: tuple[Model, ...]
    cuts: tuple[int, ...]
    part_of: npt.NDArray[np.uint8]
    bits: Floats
    per_user: bool = False

    @property
    def longest(self) -> int:
        """Length to which parts are searched."""
        return max((self.n, *self.cuts))

    @cached_property
    def candidates(self) -> Ints:
        """Indices of all tracks that can be listed, ascending."""
        return np.flatnonzero(self.part_of != NO_PART).astype(np.int32)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many candidates each slice has."""
        of_part = np.bincount(self.part_of, minlength=NO_PART + 1)
        return {name: int(sum(of_part[PARTS.index(part)] for part in parts)) for name, parts in SLICES.items()}


def random_users(seed: int, user_idx: Ints) -> Floats:
    """Factors of users for the random baseline (U, 8): they order `random_tracks` each in a way of its own."""
    return (2 * uniforms(seed, "random list, user", user_idx[:, None], np.arange(_RANDOM_RANK)) - 1).astype(np.float32)


def random_tracks(seed: int, tracks: Ints) -> Floats:
    """Factors of tracks for the random baseline (C, 8), all of one length so that no track is favoured."""
    rows = 2 * uniforms(seed, "random list, track", tracks[:, None], np.arange(_RANDOM_RANK)) - 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
