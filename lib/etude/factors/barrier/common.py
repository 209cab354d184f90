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
        held: side -> which rows these are.
        between: side -> exchange with the other machines; only at the first rank of a machine.
    """

    values: dict[str, np.ndarray]
    held: dict[str, Held]
    between: dict[str, Around | Between]

    def renumbered(self, blocks: Mapping[str, Sequence[Block]]) -> dict[str, list[Block]]:
        """Return blocks of both sides whose columns are places in `values`."""
        return {side: [self.held[OTHER[side]].renumbered(block) for block in of] for side, of in blocks.items()}

    def held_share(self) -> float:
        """Return the share of both sides' rows that this machine holds."""
        sizes = [(each.size, each.size if each.places is None else len(each.places)) for each in self.held.values()]
        return sum(size for size, _ in sizes) / max(1, sum(whole for _, whole in sizes))


def meet(
    deals: Mapping[str, Deal],
    blocks: Mapping[str, Sequence[Block]],
    rank: int,
    factors: int,
    door: Door,
    ring: Ring,
    opened: ExitStack,
) -> Common:
    """Meet the other ranks; all of them must call this.

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
    values = share({side: (each.size, factors) for side, each in held.items()}, here)
    between: dict[str, Around | Between] = {}
    if here.place == 0 and len(groups) > 1:
        between = _between(deals, rank, values, held, groups, door, opened)
    return Common(values, held, between)


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
