"""Choose which rows of a side a machine holds, and bring it what the others have solved.

If every machine reads nearly all rows, each holds the whole side, and the new rows travel around a ring. If not, each
holds only the rows that its ranks solve or read. Then its blocks name places in that part, and every two machines
exchange the rows that one solves and the other reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etude.factors.barrier.ring import Link, Ring
from etude.factors.blocks import Block

MOST_SHARE = 0.7
"""Share of a side's rows that a machine may read; above it the side is held whole, which saves copies and places."""


@dataclass(frozen=True)
class Held:
    """Hold where rows of a side lie in a machine's array.

    Attributes:
        size: rows of the array.
        places: (n,) int32, the place of each row of the axis, -1 for a row that isn't held. Places ascend as rows do.
            None if the whole side is held: then each row is at its own number.
    """

    size: int
    places: np.ndarray | None = None

    def of(self, rows: slice) -> slice:
        """Return the places of contiguous rows, all of them held."""
        if self.places is None:
            return rows
        if rows.start == rows.stop:
            return slice(0, 0)
        first = int(self.places[rows.start])
        return slice(first, first + rows.stop - rows.start)

    def renumbered(self, block: Block) -> Block:
        """Return a block of the other side whose columns are places."""
        return block if self.places is None else replace(block, columns=self.places[block.columns])


def needed(blocks: Sequence[Block], own: slice, n: int) -> np.ndarray:
    """Return which of a side's n rows a rank solves or reads: (n,) bool.

    Args:
        blocks: its blocks of the other side.
        own: the rows that it solves.
        n: rows of the side.
    """
    mask = np.zeros(n, np.bool_)
    mask[own] = True
    for block in blocks:
        mask[block.columns] = True
    return mask


def choose(mask: np.ndarray, here: Ring, ring: Ring) -> Held:
    """Return what this machine holds of a side; all machines hold the whole if one of them needs most of it.

    Args:
        mask: which rows this rank needs.
        here: the ranks of this machine.
        ring: all ranks.
    """
    told = here.gather(np.packbits(mask).tobytes())
    packed = np.bitwise_or.reduce([np.frombuffer(each, np.uint8) for each in told])
    mask = np.unpackbits(packed, count=len(mask)).astype(np.bool_)
    shares = ring.gather(np.float64(mask.mean()).tobytes())
    if max(np.frombuffer(each)[0] for each in shares) > MOST_SHARE:
        return Held(len(mask))
    places = np.cumsum(mask, dtype=np.int32) - 1
    places[~mask] = -1
    return Held(int(mask.sum()), places)


class Around:
    """Bring a whole side to every machine, around a ring."""

    def __init__(self, values: np.ndarray, solved: Sequence[Sequence[slice]], ring: Ring):
        """Set the side's factors (n, rank), the rows that the ranks of each machine solve, and the machines' ring."""
        self._ring = ring
        self._parts = [[_bytes_of(values[rows]) for rows in of_machine] for of_machine in solved]

    def exchange(self) -> None:
        """Receive what the others have solved."""
        self._ring.exchange(self._parts)


class Between:
    """Bring every machine the rows that it reads of a side, from the machine that solves them."""

    def __init__(
        self, values: np.ndarray, held: Held, solved: Sequence[Sequence[slice]], place: int, links: Sequence[Link]
    ):
        """Tell the others what this machine reads of theirs.

        Args:
            values: (held.size, rank) float32, this machine's part.
            held: where rows lie in it.
            solved: the rows that the ranks of each machine solve.
            place: number of this machine.
            links: with the machines 1, 2, ... places away.
        """
        assert held.places is not None
        of_machine = [np.concatenate([held.places[rows] for rows in each]) for each in solved]
        mine, n = of_machine[place], len(solved)
        self._values = values
        self._pairs: list[tuple[np.ndarray, np.ndarray, Link]] = []
        for step in range(1, n):
            theirs = of_machine[(place - step) % n]
            # The link `n - step` tells the machine that the link `step` hears.
            asked = links[n - step - 1].pass_on(np.packbits(theirs >= 0).tobytes())
            given = mine[np.unpackbits(np.frombuffer(asked, np.uint8), count=len(mine)).astype(np.bool_)]
            self._pairs.append((given, theirs[theirs >= 0], links[step - 1]))

    def exchange(self) -> None:
        """Receive what the others have solved, and this machine reads."""
        for given, taken, link in self._pairs:
            coming = np.empty((len(taken), self._values.shape[1]), np.float32)
            link.pass_on(_bytes_of(self._values[given]), _bytes_of(coming))
            self._values[taken] = coming


def _bytes_of(rows: np.ndarray) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data
