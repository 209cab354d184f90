"""Make a small world to rank: factors, plays and splits in the form that the lake gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from etude.ranking.inputs import SPLITS, TrackFacts
from etude.ranking.models import Known
from etude.ranking.task import Users
from etude.vectors import Factors

N_USERS, N_TRACKS, RANK = 30, 60, 4


@dataclass(frozen=True)
class World:
    """Hold the input of a ranking."""

    known: Known
    user_factors: np.ndarray  # (users, rank); all zeros where the user has none
    heard: list[set[int]]
    relevant: list[set[int]]


def world(seed: int = 1) -> World:
    """Return 60 tracks: 0-39 train (39 unfitted), 40-44 validation, 45-57 test (57 not predicted), 58-59 unplayed."""
    rng = np.random.default_rng(seed)
    split = np.zeros(N_TRACKS, np.uint8)
    for name, tracks in (("train", range(40)), ("validation", range(40, 45)), ("test", range(45, 58))):
        split[list(tracks)] = SPLITS.index(name)
    # Eighths, so that equal scores happen.
    rows = (np.round(rng.normal(size=(N_TRACKS, RANK)) * 8) / 8).astype(np.float32)
    guesses = (rows * 0.25 + np.round(rng.normal(size=rows.shape)) / 8).astype(np.float32)
    plays = np.where(split == 1, rng.integers(0, 50, N_TRACKS) ** 2, 0)
    plays[39] = 0
    fitted, held_out, predicted = np.arange(39), np.arange(40, 58), np.delete(np.arange(N_TRACKS), 57)
    known = Known(
        fitted=Factors(fitted.astype(np.int32), rows[fitted]),
        held_out=Factors(held_out.astype(np.int32), rows[held_out]),
        predicted=Factors(predicted.astype(np.int32), guesses[predicted]),
        facts=TrackFacts(
            plays.astype(np.int64),
            np.minimum(plays, 20),
            rng.integers(0, 9, N_TRACKS),
            split,
            np.ones(N_TRACKS, np.bool_),
        ),
        model="fusion",
        seed=7,
    )
    users = (np.round(rng.normal(size=(N_USERS, RANK)) * 8) / 8).astype(np.float32)
    users[[3, 17]] = 0
    tracks = [set(rng.choice(58, size=rng.integers(3, 20), replace=False).tolist()) for _ in users]
    heard = [{track for track in some if track < 40 and track % 3} for some in tracks]
    relevant = [{track for track in some if (track < 40 and track % 3 == 0) or track >= 45} for some in tracks]
    relevant[5] = set()
    return World(known, users, heard, relevant)


def batch(world: World, rows: range | None = None) -> Users:
    from etude.search.candidates import Pairs

    rows = range(len(world.user_factors)) if rows is None else rows

    def pairs(sets: list[set[int]]) -> Pairs:
        mine = [sorted(sets[row]) for row in rows]
        flat = np.array([track for tracks in mine for track in tracks], dtype=np.int32)
        return Pairs(np.repeat(np.arange(len(mine)), [len(tracks) for tracks in mine]), flat)

    heard = pairs(world.heard)
    return Users(np.array(rows, np.int32), world.user_factors[list(rows)], heard, pairs(world.relevant), heard)


def without_network(world: World) -> World:
    return replace(world, known=replace(world.known, predicted=None))


def with_blend(world: World) -> World:
    """Return the world with blended factors of every track but the one that content doesn't know."""
    rng = np.random.default_rng(5)
    rows = (np.round(rng.normal(size=(N_TRACKS, RANK)) * 8) / 8).astype(np.float32)
    played = world.known.fitted.idx
    others = np.setdiff1d(np.arange(N_TRACKS), played).astype(np.int32)
    known = replace(world.known, blended=(Factors(played, rows[played]), Factors(others, rows[others])))
    return replace(world, known=known)


def paper_world(world: World) -> World:
    """Return the world under protocol paper: all tracks fitted, all plays known, all plays of test tracks relevant."""
    known = world.known
    rows = np.zeros((N_TRACKS, RANK), np.float32)
    for factors in (known.fitted, known.held_out):
        rows[factors.idx] = factors.values
    played = np.arange(58, dtype=np.int32)
    none = Factors(played[:0], rows[:0])
    plays = known.facts.plays + np.where(known.facts.split > 1, np.arange(N_TRACKS), 0)
    known = replace(known, fitted=Factors(played, rows[played]), held_out=none, facts=replace(known.facts, plays=plays))
    return replace(world, known=known, heard=[set() for _ in world.heard])
