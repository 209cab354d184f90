"""Keep a training's state in one file: weights, optimizer, and the data and settings that they were trained on."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from etude import storage
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, SettingsError
from etude.fusion.networks import FactorNetwork, build_network
from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import Vocabulary

_FORMAT = 3


@dataclass(frozen=True)
class Origin:
    """Identify the data that a network was trained on."""

    run_id: str
    wmf_run_id: str
    track_factors_version: int | None
    """Delta version that the wmf run wrote; its run_id alone doesn't distinguish two fits under the same id."""
    protocol: str
    examples_version: int
    """Delta version of `examples`."""
    mel_settings_sha256: str
    """Settings of the mel rows that it read."""

    def check_resumable(self, now: Origin) -> None:
        """Check that a run that would read `now` may continue a training on this data.

        Raises:
            SettingsError: the data differ.
        """
        for name in ("wmf_run_id", "protocol", "mel_settings_sha256"):
            before, after = getattr(self, name), getattr(now, name)
            if before != after:
                raise SettingsError(
                    f"--resume: the network was trained with {name}={before}, this run would read {name}={after}; "
                    "train without --resume"
                )
        if self.track_factors_version != now.track_factors_version:
            raise SettingsError(
                f"--resume: wmf run {self.wmf_run_id} has run again since, and its factors have another basis; train "
                "without --resume"
            )


@dataclass(frozen=True)
class EpochFigures:
    """Hold the figures of one epoch over all ranks."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    """Null if there are no validation rows."""
    rows_per_s: float
    input_wait_share: float
    """Share of the training time spent waiting for batches."""
    dropped_rows: int
    """Rows that no batch held, because every rank takes the same number of steps."""


@dataclass
class Checkpoint:
    """Hold the state after `len(history)` epochs. The weights include the statistics of the training rows."""

    settings: TrainSettings
    shape: ExampleShape
    vocabulary: Vocabulary
    origin: Origin
    weights: dict[str, Any]
    optimizer: dict[str, Any] = field(default_factory=dict)
    """Empty in the best epoch's checkpoint, from which no training goes on."""
    history: list[EpochFigures] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Return the last epoch trained; 0 before the first."""
        return self.history[-1].epoch if self.history else 0

    def network(self) -> FactorNetwork:
        """Return the trained network, ready to predict."""
        network = build_network(self.settings, self.shape)
        network.load_state_dict(self.weights)
        return network.eval()


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Serialise a checkpoint as tensors and plain values only, so that reading it runs no code."""
    content = {
        "format": _FORMAT,
        "settings": checkpoint.settings.model_dump_json(),
        "shape": asdict(checkpoint.shape),
        "vocabulary": checkpoint.vocabulary.as_dict(),
        "origin": asdict(checkpoint.origin),
        "weights": dict(checkpoint.weights),
        "optimizer": checkpoint.optimizer,
        "history": [asdict(figures) for figures in checkpoint.history],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes, uri: str = "checkpoint") -> Checkpoint:
    """Reverse `to_bytes`; errors name `uri`.

    Raises:
        DataCheckError: the bytes aren't such a checkpoint (anything but tensors and plain values is rejected unread).
    """
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise DataCheckError(f"{uri}: checkpoint of format {content['format']}, expected {_FORMAT}")
        return Checkpoint(
            settings=TrainSettings.model_validate(json.loads(content["settings"])),
            shape=ExampleShape(**content["shape"]),
            vocabulary=Vocabulary.from_dict(content["vocabulary"]),
            origin=Origin(**content["origin"]),
            weights=content["weights"],
            optimizer=content["optimizer"],
            history=[EpochFigures(**figures) for figures in content["history"]],
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise DataCheckError(f"{uri}: not a checkpoint of this version ({type(error).__name__})") from error


def last_uri(folder: str) -> str:
    """Return the URI of the last epoch's checkpoint; training goes on from it."""
    return storage.join(folder, "last.pt")


def best_uri(folder: str) -> str:
    """Return the URI of the best epoch's checkpoint; prediction uses it."""
    return storage.join(folder, "best.pt")


def epoch_uri(folder: str, epoch: int) -> str:
    """Return the URI of an epoch's checkpoint, which is kept with `train.keep_epochs`."""
    return storage.join(folder, f"epoch-{epoch}.pt")


def write(uri: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; a reader sees the old one or the new one."""
    storage.write_bytes(uri, to_bytes(checkpoint))


def read(uri: str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        FileNotFoundError: there is no checkpoint at `uri`.
        DataCheckError: the file isn't a checkpoint of this version.
    """
    return from_bytes(storage.read_bytes(uri), uri)
