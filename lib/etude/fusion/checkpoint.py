"""A training's state in one file: weights, optimizer, and all that says what they were trained on."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from etude import storage
from etude.config.train import TrainSettings
from etude.errors import DataCheckError
from etude.fusion.networks import FactorNetwork, build_network
from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import Vocabulary

_FORMAT = 2


@dataclass(frozen=True)
class Origin:
    """What a network was trained on."""

    run_id: str
    wmf_run_id: str
    track_factors_version: int | None
    """Delta version that the wmf run left: its run_id alone doesn't tell one fit from another under the same id."""
    protocol: str
    examples_version: int
    """Delta version of `examples`."""
    mel_settings_sha256: str
    """Which mel rows it heard."""


@dataclass(frozen=True)
class EpochFigures:
    """What one epoch gave, over all ranks."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    """Null where there are no validation rows."""
    rows_per_s: float
    input_wait_share: float
    """Share of the training time spent waiting for batches."""
    dropped_rows: int
    """Rows that no batch held, because every rank takes the same number of steps."""


@dataclass
class Checkpoint:
    """State after `len(history)` epochs. The statistics of the training rows are among the weights."""

    settings: TrainSettings
    shape: ExampleShape
    vocabulary: Vocabulary
    origin: Origin
    weights: dict[str, Any]
    optimizer: dict[str, Any] = field(default_factory=dict)
    """Empty in the best epoch's checkpoint, which isn't trained on."""
    history: list[EpochFigures] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Last epoch trained; 0 before the first."""
        return self.history[-1].epoch if self.history else 0

    def network(self) -> FactorNetwork:
        """The trained network, ready to predict."""
        network = build_network(self.settings, self.shape)
        network.load_state_dict(self.weights)
        return network.eval()


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Tensors and plain values only, so that reading it runs no code."""
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
    """The reverse of `to_bytes`; `uri` is named in errors.

    Raises:
        DataCheckError: the bytes aren't such a checkpoint (anything but tensors and plain values is refused unread).
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
    """Where the last epoch's checkpoint lies; training goes on from it."""
    return storage.join(folder, "last.pt")


def best_uri(folder: str) -> str:
    """Where the best epoch's checkpoint lies; prediction uses it."""
    return storage.join(folder, "best.pt")


def write(uri: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old one or the new one."""
    storage.write_bytes(uri, to_bytes(checkpoint))


def read(uri: str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        FileNotFoundError: there is none.
        DataCheckError: it isn't one of this version.
    """
    return from_bytes(storage.read_bytes(uri), uri)
