"""Train one rank: epochs, losses, checkpoints. The module needs no Spark, and sees its peers only through `Ranks`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from etude import storage
from etude.causes import NOT_FINITE
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, EtudeError, InputMissingError, SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion import device
from etude.fusion.checkpoint import Checkpoint, EpochFigures, Origin
from etude.fusion.distribution import Ranks
from etude.fusion.moments import Moments
from etude.fusion.networks import TrainingLoss, build_network
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
_REASONS = (EtudeError, SettingsError, InputMissingError, DataCheckError)


@dataclass(frozen=True)
class Training:
    """Hold the inputs of one training. It is pickled and sent to each rank, and names files by URI only."""

    settings: TrainSettings
    shape: ExampleShape
    vocabulary: Vocabulary
    origin: Origin
    moments: dict[str, Moments]
    training_shards: tuple[Shard, ...]
    validation_shards: tuple[Shard, ...]
    folder: str
    """URI of the folder of checkpoints; if it holds one, training goes on from it."""


def work(training: Training, ranks: Ranks) -> list[dict[str, Any]]:
    """Train, and return the figures of all epochs as plain values.

    If a rank stops, its peers fail with connection errors that don't name the cause. The rank therefore writes the
    reason to a file for the driver (see `reason_uri`, `failure_uri`). One that was killed writes nothing.
    """
    try:
        with _own_torch(_threads(training.settings.threads, ranks.local_size)):
            return [asdict(figures) for figures in _Loop(training, ranks).run()]
    except EtudeError as error:
        said = json.dumps([error.exit_code, str(error)])
        storage.write_bytes(reason_uri(training.folder, ranks.rank), said.encode())
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        storage.write_bytes(failure_uri(training.folder, ranks.rank), said.encode())
        raise


def reason_uri(folder: str, rank: int) -> str:
    """Return the URI of the file with the reason why a rank stopped."""
    return storage.join(folder, f"stopped-{rank}.txt")


def read_reason(uri: str) -> EtudeError:
    """Return the error whose reason a rank wrote to a file."""
    exit_code, text = json.loads(storage.read_bytes(uri))
    return next(kind for kind in _REASONS if kind.exit_code == exit_code)(text)


def failure_uri(folder: str, rank: int) -> str:
    """Return the URI of the file with the error that ended a rank for no reason that it knows, such as a lost peer."""
    return storage.join(folder, f"failed-{rank}.txt")


class _Loop:
    def __init__(self, training: Training, ranks: Ranks):
        self.training, self.ranks, self.settings = training, ranks, training.settings
        self.log = job_logger()
        torch.manual_seed(self.settings.seed)
        self.network = build_network(self.settings, training.shape)
        self.network.set_moments(training.moments)
        self.device = device.of_rank(self.settings.device, ranks)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if ranks.rank == 0:
            self.log.info("device=%s precision=%s", self.device, self.settings.precision)
        self.open = reader(self.settings.reader)
        self.columns = (*self.network.inputs, "target")
        self.history: list[EpochFigures] = []
        self._start()

    def _start(self) -> None:
        """Load the last checkpoint, which every rank reads itself, move the network, wrap it and its optimizer."""
        last = checkpoints.last_uri(self.training.folder)
        earlier = checkpoints.read(last) if storage.exists(last) else None
        if earlier is not None:
            self.network.load_state_dict(earlier.weights)
            self.history = earlier.history
        self.network.to(self.device)
        adam = torch.optim.Adam(
            self.network.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.trained, self.optimizer = self.ranks.distribute(TrainingLoss(self.network), adam)
        if earlier is not None:
            self.optimizer.load_state_dict(earlier.optimizer)

    def run(self) -> list[EpochFigures]:
        """Train the remaining epochs."""
        while not finished(self.history, self.settings):
            epoch = len(self.history) + 1
            # Reset each epoch, so that a resumed training draws the same numbers as an uninterrupted one.
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
            self.training.training_shards,
            self.settings.seed,
            epoch,
            self.ranks.rank,
            self.ranks.size,
            self.settings.batch_size,
        )
        self.network.train()
        given = _Timed(epoch_batches(self.open, self.columns, turn, self.settings.seed, epoch))
        begun = time.monotonic()
        loss = sum(self._step(epoch, rows, step / turn.steps) for step, rows in enumerate(given))
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

    def _step(self, epoch: int, rows: Rows, done: float) -> float:
        """Take one step, with the share of the epoch that is done; return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = step_size(self.settings, self.ranks.size, epoch - 1 + done)
        batch = one_crop(to_tensors(rows, self.training.shape))
        if self.network.metadata is not None:
            # On the CPU: the same values are hidden on every device.
            batch = hide_known(batch, self.settings.unknown_share)
        batch = device.moved(batch, self.device)
        target = self.network.standardise(batch.pop("target"))
        self.optimizer.zero_grad()
        with self._precision():
            loss = self.trained(batch, target)
        loss.backward()
        self.optimizer.step()
        # The gradient of the output's bias is now the mean over all ranks. If one rank's loss isn't finite, all ranks
        # see it at this step, and none waits for a rank that stopped.
        gradient = self.network.output.bias.grad
        if gradient is None or not gradient.isfinite().all():
            tracks = self._blamed([] if loss.isfinite() else _suspects(rows))
            raise DataCheckError(f"train: {NOT_FINITE} in epoch {epoch}; the batch holds track_idx {tracks}")
        return loss.item()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _blamed(self, tracks: list[int]) -> list[int]:
        """Collect the tracks that all ranks blame, so that the error of any rank names them."""
        told = torch.zeros(self.ranks.size, _BLAMED, dtype=torch.float64)
        told[self.ranks.rank, : len(tracks)] = torch.tensor(tracks, dtype=torch.float64) + 1
        return [int(track) - 1 for track in self.ranks.total(told).flatten().tolist() if track]

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        """Compute the mean squared error of standardised factors over all validation rows of all ranks."""
        if not self.training.validation_shards:
            return None
        self.network.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        mine = share_of(self.training.validation_shards, self.ranks.rank, self.ranks.size)
        for rows in batches(self.open, self.columns, mine, _EVALUATION_ROWS):
            batch = device.moved(to_tensors(rows, self.training.shape), self.device)
            target = self.network.standardise(batch.pop("target"))
            with self._precision():
                found = all_crops(self.network, batch)
            errors = (found.float() - target).double().square()
            sums += torch.tensor([errors.sum().item(), errors.numel()], dtype=torch.float64)
        total, cells = self.ranks.total(sums).tolist()
        return total / cells

    def _save(self) -> None:
        """Write the best checkpoint first, then the last.

        A run killed between the two repeats the epoch and writes the same two files.
        """
        training = self.training
        state = Checkpoint(
            self.settings,
            training.shape,
            training.vocabulary,
            training.origin,
            self.network.state_dict(),
            {},
            self.history,
        )
        if best_epoch(self.history) == self.history[-1].epoch:
            checkpoints.write(checkpoints.best_uri(training.folder), state)
        if self.settings.keep_epochs:
            checkpoints.write(checkpoints.epoch_uri(training.folder, self.history[-1].epoch), state)
        state.optimizer = self.optimizer.state_dict()
        checkpoints.write(checkpoints.last_uri(training.folder), state)


def step_size(settings: TrainSettings, ranks: int, epochs: float) -> float:
    """Return Adam's step size after so many epochs, a fraction included.

    Linear scaling with gradual warm-up (Goyal et al. 2017): from `learning_rate` to `ranks` times that.
    """
    if settings.learning_rate_scaling == "none":
        return settings.learning_rate
    return settings.learning_rate * (1 + (ranks - 1) * min(1.0, epochs / settings.warmup_epochs))


def best_epoch(history: list[EpochFigures]) -> int:
    """Return the epoch with the lowest validation loss; the last epoch without validation rows; 0 before the first."""
    if not history or history[-1].validation_loss is None:
        return len(history)
    return min(history, key=lambda figures: (figures.validation_loss, figures.epoch)).epoch


def finished(history: list[EpochFigures], settings: TrainSettings) -> bool:
    """Return whether all epochs are done, or `patience` epochs brought no lower validation loss."""
    done = len(history)
    waited = done - best_epoch(history)
    return done >= settings.epochs or (settings.patience is not None and waited >= settings.patience)


class _Timed:
    """Iterate over items, and measure how long the consumer waited for them (s)."""

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
    """Give a training its own threads and random numbers, then restore torch's (a rank may run in the driver)."""
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
        raise DataCheckError(f"train: {NOT_FINITE} after epoch {epoch}: the {which} loss is {loss}")
    return loss


def _suspects(rows: Rows) -> list[int]:
    """Return the tracks of a batch that may make its loss infinite or NaN: those with such values, else the first."""
    finite = [np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in rows.values()]
    bad = rows["track_idx"][~np.logical_and.reduce(finite)]
    return (bad if len(bad) else rows["track_idx"])[:_BLAMED].tolist()


def _shown(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.5f}"
