"""Turn a reader's rows into a network's inputs: tensors, the choice of a crop, hidden values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from etude.fusion.networks.network import FactorNetwork
from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import NONE, UNKNOWN

_HIDDEN_TO_ZERO = (("has_mel",), ("tag_indices", "tag_weights"))
_HIDDEN_TO_UNKNOWN = ("artist_index", "year_index")


def to_tensors(rows: dict[str, np.ndarray], shape: ExampleShape) -> dict[str, Tensor]:
    """Return a reader's arrays as tensors: indices int64, the rest as read; mel (rows, crops, n_mels, n_frames)."""
    tensors = {
        name: torch.from_numpy(values).long() if name.endswith(("_index", "_indices")) else torch.from_numpy(values)
        for name, values in rows.items()
        if name != "track_idx"
    }
    if "mel" in tensors:
        tensors["mel"] = tensors["mel"].view(-1, shape.crops, shape.n_mels, shape.n_frames)
    return tensors


def one_crop(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch with one crop of each row, drawn by torch's generator."""
    mel = batch.get("mel")
    if mel is None:
        return batch
    if mel.shape[1] == 1:
        return {**batch, "mel": mel[:, 0]}
    chosen = torch.randint(mel.shape[1], (mel.shape[0],))
    return {**batch, "mel": mel[torch.arange(mel.shape[0]), chosen]}


def hide_known(batch: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return a batch in which each field of each row is hidden with probability `share`, independently.

    Only values that a track has can be hidden: a missing artist or year stays NONE.
    """
    hidden = dict(batch)
    for columns in _HIDDEN_TO_ZERO:
        present = [name for name in columns if name in batch]
        if not present:
            continue
        keep = torch.rand(len(batch[present[0]])) >= share
        for name in present:
            values = batch[name]
            hidden[name] = values * keep.view(-1, *[1] * (values.dim() - 1)).to(values.dtype)
    for name in _HIDDEN_TO_UNKNOWN:
        if name in batch:
            values = batch[name]
            keep = (torch.rand(len(values)) >= share) | (values == NONE)
            hidden[name] = torch.where(keep, values, UNKNOWN)
    return hidden


def all_crops(network: FactorNetwork, batch: dict[str, Tensor]) -> Tensor:
    """Return the network's standardised factors, averaged over the crops of each row."""
    mel = batch.get("mel")
    if mel is None:
        return network(batch)
    outputs = [network({**batch, "mel": mel[:, crop]}) for crop in range(mel.shape[1])]
    return torch.stack(outputs).mean(dim=0)
