"""The training of one rank: epochs, losses, checkpoints. Knows nothing of Spark, and of its peers only `Ranks`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss

from etude import storage
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, EtudeError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.checkpoint import Checkpoint, EpochFigures, Origin
from etude.fusion.distribution import Ranks
from etude.fusion.moments import Moments
from etude.fusion.networks import build_network
from etude.fusion.networks.inputs import all_crops, hide_known, one_crop, to_tensors
from etude.fusion.readers import batches, epoch_batches, reader
from etude.fusion.readers.batches import Rows
from etude.fusion.shape import ExampleShape
from etude.fusion.shards import Shard, share_of, training_turn
from etude.fusion.vocabulary import Vocabulary
from etude.logs import job_logger
from etude.machine import cores

_EVALUATION_ROWS = 512
_BLAMED = 10


@dataclass(frozen=True)
class Plan:
    """All that a rank needs; it is pickled to wherever the rank runs, and names files by URI only."""

    settings: TrainSettings
    shape: ExampleShape
    vocabulary: Vocabulary
    origin: Origin
    moments: dict[str, Moments]
    training: tuple[Shard, ...]
    validation: tuple[Shard, ...]
    folder: str
    """URI of the folder of checkpoints; where it holds one, training goes on from it."""


def work(plan: Plan, ranks: Ranks) -> list[dict[str, Any]]:
    """Train, and return the figures of all epochs as plain values.

    A rank that stops leaves its peers with broken connections, whose errors say nothing: so the reason is left in a
    file for the driver (see `reason_uri`).
    """
    try:
        with _own_torch(_threads(plan.settings.threads, ranks.local_size)):
            return [asdict(figures) for figures in _Training(plan, ranks).run()]
    except EtudeError as error:
        storage.write_bytes(reason_uri(plan.folder, ranks.rank), str(error).encode())
        raise


def reason_uri(folder: str, rank: int) -> str:
    """Where a rank that stopped says why."""
    return storage.join(folder, f"stopped-{rank}.txt")


class _Training:
    def __init__(self, plan: Plan, ranks: Ranks):
        self.plan, self.ranks, self.settings = plan, ranks, plan.settings
        self.log = job_logger()
        torch.manual_seed(self.settings.seed)
        self.network = build_network(self.settings, plan.shape)
        self.network.set_moments(plan.moments)
        self.open = reader(self.settings.reader)
        self.columns = (*self.network.inputs, "target")
        self.history: list[EpochFigures] = []
        self._start()

    def _start(self) -> None:
        """Wrap network and optimizer, and take over the last checkpoint; every rank reads it for itself."""
        adam = torch.optim.Adam(
            self.network.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        last = checkpoints.last_uri(self.plan.folder)
        earlier = checkpoints.read(last) if storage.exists(last) else None
        if earlier is not None:
            self.network.load_state_dict(earlier.weights)
            self.history = earlier.history
        self.trained, self.optimizer = self.ranks.distribute(self.network, adam)
        if earlier is not None:
            self.optimizer.load_state_dict(earlier.optimizer)

    def run(self) -> list[EpochFigures]:
        """All epochs that are left."""
        while not finished(self.history, self.settings):
            epoch = len(self.history) + 1
            # Set anew each epoch, so that a resumed training draws what an unbroken one would have drawn.
            torch.manual_seed(_mixed(self.settings.seed, epoch, self.ranks.rank))
            figures = self._epoch(epoch)
            self.history.append(figures)
            if self.ranks.rank == 0:
                self._save()
                self.log.info(
                    "epoch=%d train_loss=%.5f validation_loss=%s rows_per_s=%.0f input_wait_share=%.3f",
                    epoch, figures.train_loss, _shown(figures.validation_loss), figures.rows_per_s,
                    figures.input_wait_share,
                )  # fmt: skip
        return self.history

    def _epoch(self, epoch: int) -> EpochFigures:
        turn = training_turn(
            self.plan.training, self.settings.seed, epoch, self.ranks.rank, self.ranks.size, self.settings.batch_size
        )
        self.network.train()
        given = _Timed(epoch_batches(self.open, self.columns, turn, self.settings.seed, epoch))
        begun = time.monotonic()
        loss = sum(self._step(epoch, rows) for rows in given)
        seconds = time.monotonic() - begun
        mine = torch.tensor(
            [loss, turn.steps, turn.steps * turn.batch_size, given.waited, seconds], dtype=torch.float64
        )
        lost, steps, rows, waited, took = self.ranks.total(mine).tolist()
        validation = self._validation_loss()
        return EpochFigures(
            epoch=epoch,
            train_loss=_finite("training", epoch, lost / steps),
            validation_loss=None if validation is None else _finite("validation", epoch, validation),
            rows_per_s=rows / (took / self.ranks.size),
            input_wait_share=waited / took,
            dropped_rows=turn.dropped,
        )

    def _step(self, epoch: int, rows: Rows) -> float:
        batch = one_crop(to_tensors(rows, self.plan.shape))
        target = self.network.standardise(batch.pop("target"))
        if self.network.metadata is not None:
            batch = hide_known(batch, self.settings.unknown_share)
        self.optimizer.zero_grad()
        loss = mse_loss(self.trained(batch), target)
        loss.backward()
        self.optimizer.step()
        # The gradient of the output's bias is by now the mean over all ranks: a loss that isn't finite anywhere shows
        # in it everywhere, at this very step, so that no rank is left waiting for one that stopped.
        gradient = self.network.output.bias.grad
        if gradient is None or not gradient.isfinite().all():
            tracks = self._blamed([] if loss.isfinite() else _suspects(rows))
            raise DataCheckError(f"train: loss is not finite in epoch {epoch}; a batch with track_idx {tracks}")
        return loss.item()

    def _blamed(self, tracks: list[int]) -> list[int]:
        """What all ranks blame, so that whichever rank's error is seen first says it."""
        told = torch.zeros(self.ranks.size, _BLAMED, dtype=torch.float64)
        told[self.ranks.rank, : len(tracks)] = torch.tensor(tracks, dtype=torch.float64) + 1
        return [int(track) - 1 for track in self.ranks.total(told).flatten().tolist() if track]

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        """Mean squared error of standardised factors over all validation rows of all ranks."""
        if not self.plan.validation:
            return None
        self.network.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        mine = share_of(self.plan.validation, self.ranks.rank, self.ranks.size)
        for rows in batches(self.open, self.columns, mine, _EVALUATION_ROWS):
            batch = to_tensors(rows, self.plan.shape)
            target = self.network.standardise(batch.pop("target"))
            errors = (all_crops(self.network, batch) - target).double().square()
            sums += torch.tensor([errors.sum().item(), errors.numel()], dtype=torch.float64)
        total, cells = self.ranks.total(sums).tolist()
        return total / cells

    def _save(self) -> None:
        """First the best, then the last: a run killed between the two repeats the epoch and writes both the same."""
        plan = self.plan
        state = Checkpoint(
            self.settings, plan.shape, plan.vocabulary, plan.origin, self.network.state_dict(), {}, self.history
        )
        if best_epoch(self.history) == self.history[-1].epoch:
            checkpoints.write(checkpoints.best_uri(plan.folder), state)
        state.optimizer = self.optimizer.state_dict()
        checkpoints.write(checkpoints.last_uri(plan.folder), state)


def best_epoch(history: list[EpochFigures]) -> int:
    """The epoch with the least validation loss; the last one where there are no validation rows; 0 before the first."""
    if not history or history[-1].validation_loss is None:
        return len(history)
    return min(history, key=lambda figures: (figures.validation_loss, figures.epoch)).epoch


def finished(history: list[EpochFigures], settings: TrainSettings) -> bool:
    """Whether all epochs are done, or `patience` epochs brought no better validation loss."""
    done = len(history)
    waited = done - best_epoch(history)
    return done >= settings.epochs or (settings.patience is not None and waited >= settings.patience)


class _Timed:
    """An iterator that knows how long its consumer waited for it."""

    def __init__(self, items: Iterator[Rows]):
        self.items, self.waited = items, 0.0

    def __iter__(self) -> Iterator[Rows]:
        while True:
            begun = time.monotonic()
            item = next(self.items, None)
            self.waited += time.monotonic() - begun
            if item is None:
                return
            yield item


@contextmanager
def _own_torch(threads: int) -> Iterator[None]:
    """Threads and random numbers of a training's own; afterwards torch's are as before (a rank may be the driver)."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _threads(setting: int | None, local_size: int) -> int:
    return setting or max(1, cores() // local_size)


def _mixed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _finite(which: str, epoch: int, loss: float) -> float:
    if not torch.isfinite(torch.tensor(loss)):
        raise DataCheckError(f"train: {which} loss is {loss} after epoch {epoch}")
    return loss


def _suspects(rows: Rows) -> list[int]:
    """Tracks of a batch whose loss isn't finite: those with such values, else the batch's first."""
    finite = [np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in rows.values()]
    bad = rows["track_idx"][~np.logical_and.reduce(finite)]
    return (bad if len(bad) else rows["track_idx"])[:_BLAMED].tolist()


def _shown(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.5f}"
