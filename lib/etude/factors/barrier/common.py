"""Let the ranks of a machine meet: map what they hold in common, and connect it with the other machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from etude.factors.barrier.held import Around, Between, Held, choose, needed
from etude.factors.barrier.memory import machines, share
from etude.factors.barrier.ring import Door, Ring
from etude.factors.barrier.rows import Deal
from etude.factors.blocks import OTHER, Block


@dataclass(frozen=True)
class Common:
    """Hold what the ranks of a machine share.

    Attributes:
        values: side -> (held, rank) float32, mapped by all ranks of this machine.
        own: side -> the rows that this rank solves, a part of `values`.
        held_share: share of both sides' rows that this machine holds.
        between: side -> exchange with the other machines; only at the first rank of a machine.
    """

    values: dict[str, np.ndarray]
    own: dict[str, np.ndarray]
    held_share: float
    between: dict[str, Around | Between]


def meet(
    deals: Mapping[str, Deal],
    blocks: dict[str, list[Block]],
    rank: int,
    factors: int,
    door: Door,
    ring: Ring,
    opened: ExitStack,
) -> Common:
    """Meet the other ranks; all of them must call this. Afterwards the columns of `blocks` are places in `values`.

    Args:
        deals: which rank solves which rows of a side.
        blocks: the rows of both sides that this rank solves.
        rank: this rank.
        factors: numbers per row.
        door: its way into rings with the others.
        ring: all ranks.
        opened: takes what is to be closed.
    """
    groups = machines(ring)
    here = door.join(rank, next(group for group in groups if rank in group))
    opened.callback(here.close)
    held = {side: Held(deal.size) for side, deal in deals.items()}
    if len(groups) > 1:
        for side, deal in deals.items():
            held[side] = choose(needed(blocks[OTHER[side]], deal.rows(rank), deal.size), here, ring)
            blocks[OTHER[side]] = [held[side].renumbered(block) for block in blocks[OTHER[side]]]
    values = share({side: (each.size, factors) for side, each in held.items()}, here)
    between: dict[str, Around | Between] = {}
    if here.place == 0 and len(groups) > 1:
        between = _between(deals, rank, values, held, groups, door, opened)
    own = {side: values[side][held[side].of(deal.rows(rank))] for side, deal in deals.items()}
    whole = sum(deal.size for deal in deals.values())
    return Common(values, own, sum(each.size for each in held.values()) / max(1, whole), between)


def _between(
    deals: Mapping[str, Deal],
    rank: int,
    values: Mapping[str, np.ndarray],
    held: Mapping[str, Held],
    groups: Sequence[Sequence[int]],
    door: Door,
    opened: ExitStack,
) -> dict[str, Around | Between]:
    """Connect the first rank of this machine with the first ranks of the others."""
    firsts = [group[0] for group in groups]
    place, ring = firsts.index(rank), door.join(rank, firsts)
    opened.callback(ring.close)
    links = []
    if any(each.places is not None for each in held.values()):
        links = [door.link(rank, firsts, step) for step in range(1, len(firsts))]
        for link in links:
            opened.callback(link.close)
    found: dict[str, Around | Between] = {}
    for side, deal in deals.items():
        solved = [[deal.rows(each) for each in group] for group in groups]
        if held[side].places is None:
            found[side] = Around(values[side], solved, ring)
        else:
            found[side] = Between(values[side], held[side], solved, place, links)
    return found
