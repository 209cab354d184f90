"""Do the work of one rank: solve its rows of both sides, and exchange what is new with the other ranks.

The ranks of a machine write their rows into one array that all of them map, so nothing has to be sent. Between machines
the first rank of each sends and receives for all its neighbours; `held` says which rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from etude.config.wmf import WmfSettings
from etude.factors.barrier.common import Common, meet
from etude.factors.barrier.kept import Kept, Newest
from etude.factors.barrier.ring import Door, Ring
from etude.factors.barrier.rows import SIDES, Deal, Received
from etude.factors.blocks import OTHER, Axis
from etude.factors.fit import not_finite
from etude.factors.objective import converged, eigenbasis, gram, penalty, row_regularization, turned
from etude.factors.solve import improve
from etude.factors.start import start
from etude.vectors import Factors

_TURNED_ROWS, _KEPT_ROWS = 8_192, 65_536


@dataclass(frozen=True)
class Task:
    """Hold what all ranks know.

    Attributes:
        axes: rows of both sides.
        deals: which rank solves which rows.
        settings: objective, solver and iterations.
        kept: where iterations are kept.
        done: the iteration to go on from; NOTHING for the start values.
        attempt: name of this attempt at the fit.
    """

    axes: dict[str, Axis]
    deals: dict[str, Deal]
    settings: WmfSettings
    kept: Kept
    done: Newest
    attempt: str


def work(task: Task, rank: int, mine: Received, door: Door, ranks: int) -> dict[str, float]:
    """Fit; return figures for the log: the seconds by kind of work, and the share of all rows that this machine holds.

    Args:
        task: what all ranks know.
        rank: this rank.
        mine: its blocks of both sides, and earlier factors of its rows.
        door: its way into rings with the others.
        ranks: their number.

    Raises:
        DataCheckError: a factor is not finite.
        PeerLostError: a neighbour has gone.
    """
    with ExitStack() as opened, threadpool_limits(limits=1):
        ring = door.join(rank, range(ranks))
        opened.callback(ring.close)
        common = meet(task.deals, mine.blocks, rank, task.settings.rank, door, ring, opened)
        seconds = _Rank(task, rank, mine, common, ring).fit()
        return {**{f"{kind}_s": taken for kind, taken in seconds.items()}, "held_share": common.held_share}


class _Rank:
    """Hold the factors of both sides, of which this rank's rows are its own to write.

    As in the engine `blocked`, the side to be read is turned into the eigenbasis of its Gram matrix before each half
    sweep, and the other side with it. `_turns` is the product of all rotations.
    """

    def __init__(self, task: Task, rank: int, received: Received, common: Common, ring: Ring):
        self._task, self._settings, self._rank = task, task.settings, rank
        self._received, self._common, self._ring = received, common, ring
        self._rows = {side: deal.rows(rank) for side, deal in task.deals.items()}
        self._grams: dict[str, np.ndarray] = {}
        self._seconds = dict.fromkeys(("solving", "waiting", "turning", "sending", "keeping"), 0.0)
        self._turns = np.eye(self._settings.rank)

    def fit(self) -> dict[str, float]:
        """Sweep; return the seconds by kind of work."""
        losses = list(self._task.done.losses)
        self._begin()
        while not converged(losses, self._settings):
            iteration = len(losses) + 1
            self._sweep("user", f"iteration {iteration}, users")
            losses.append((iteration, self._sweep("track", f"iteration {iteration}, tracks")))
            if converged(losses, self._settings) or iteration % self._settings.checkpoint_interval == 0:
                with self._timing("keeping"):
                    self._keep(iteration, losses)
            if self._rank == 0:
                self._task.kept.tell(iteration)
        return self._seconds

    @contextmanager
    def _timing(self, kind: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._seconds[kind] += time.monotonic() - begun

    def _begin(self) -> None:
        """Set this rank's rows to their start values, to earlier factors, or to the iteration to go on from."""
        for side in SIDES:
            rows = self._rows[side]
            if self._task.done.iteration and rows.start < rows.stop:
                self._common.own[side][:] = self._task.kept.read(self._task.done, side, rows)
            else:
                self._common.own[side][:] = start(self._task.axes[side].idx[rows], side, self._settings)
                self._received.put_earlier(side, self._common.own[side], rows.start)
        self._publish("track", 0.0, "start, tracks")

    def _sweep(self, side: str, what: str) -> float:
        """Solve this rank's rows of a side and publish them; return the loss, which is known after the tracks."""
        fixed, loss = self._common.values[OTHER[side]], 0.0
        mine, first = self._common.own[side], self._rows[side].start
        with self._timing("solving"):
            for block in self._received.blocks[side]:
                rows = mine[block.rows.start - first : block.rows.stop - first]
                rows[:], played = improve(block, fixed, self._grams[OTHER[side]], rows, self._settings)
                loss += played
            if side == "track":
                loss += sum(self._penalty(each) for each in SIDES)
        return self._publish(side, loss, what)

    def _publish(self, side: str, loss: float, what: str) -> float:
        """Let all ranks read the new factors of a side, turned into the eigenbasis of their Gram matrix.

        The ranks' sums are added in the order of the ranks by each of them, so all have the same.

        Args:
            side: the side.
            loss: this rank's part of the loss, but for the sum over all cells.
            what: the half sweep, for error messages.

        Returns:
            The loss of all ranks; 0 if only one side has been published.
        """
        rank = self._settings.rank
        with self._timing("turning"):
            mine = gram(self._common.own[side])
        with self._timing("waiting"):
            told = self._ring.gather(np.append(mine, loss).tobytes())
        total = np.sum([np.frombuffer(each) for each in told], axis=0)
        self._grams[side] = total[:-1].reshape(rank, rank)
        self._check_finite(side, what)
        whole = float(total[-1] + np.sum(self._grams["user"] * self._grams["track"])) if len(self._grams) == 2 else 0.0
        # One rank's rotation for all: processors of another make may round otherwise.
        basis = np.stack(eigenbasis(self._grams[side])).tobytes() if self._rank == 0 else b""
        self._grams[side], turn = np.frombuffer(self._ring.gather(basis)[0]).reshape(2, rank, rank)
        self._turns = self._turns @ turn
        with self._timing("turning"):
            for each in SIDES:
                self._turn(each, turn)
        with self._timing("sending"):
            self._ring.gather()
            if side in self._common.between:
                self._common.between[side].exchange()
            self._ring.gather()
        return whole

    def _penalty(self, side: str) -> float:
        counts = self._task.axes[side].counts[self._rows[side]]
        return penalty(self._common.own[side], row_regularization(counts, self._settings))

    def _check_finite(self, side: str, what: str) -> None:
        if np.isfinite(self._grams[side]).all():
            return
        bad = np.array([(~np.isfinite(self._common.own[side]).all(axis=1)).sum()], np.int64)
        total = sum(int(np.frombuffer(each, np.int64)[0]) for each in self._ring.gather(bad.tobytes()))
        raise not_finite(what, total, len(self._task.axes[side]))

    def _turn(self, side: str, turn: np.ndarray) -> None:
        rows = self._common.own[side]
        for first in range(0, len(rows), _TURNED_ROWS):  # in pieces: the copies stay small
            piece = rows[first : first + _TURNED_ROWS]
            piece[:] = turned(piece, turn)

    def _keep(self, iteration: int, losses: list[tuple[int, float]]) -> None:
        """Write this rank's rows, in the basis of the start values."""
        for side, rows in self._rows.items():
            if rows.start < rows.stop:
                self._task.kept.write(iteration, self._task.attempt, side, rows, self._turned_back(side))
        self._ring.gather()
        if self._rank == 0:
            self._task.kept.complete(iteration, self._task.attempt, losses)

    def _turned_back(self, side: str) -> Iterator[Factors]:
        idx, mine = self._task.axes[side].idx[self._rows[side]], self._common.own[side]
        for first in range(0, len(mine), _KEPT_ROWS):
            piece = slice(first, first + _KEPT_ROWS)
            yield Factors(idx[piece], turned(mine[piece], self._turns.T))
