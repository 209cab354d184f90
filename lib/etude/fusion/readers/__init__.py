"""Batch readers behind one interface: which library opens the files is a setting, what comes out is not.

A reader opens a list of shards and gives one dictionary of arrays a row group, in the order of the list. Everything
else (row order, batches, counting) is done once, in `batches`, for all readers.
"""

from __future__ import annotations

from etude.fusion.readers.batches import Opener, batches, epoch_batches

__all__ = ["Opener", "batches", "epoch_batches", "reader"]


def reader(name: str) -> Opener:
    """The reader that `train.reader` names."""
    if name == "petastorm":
        from etude.fusion.readers.petastorm import open_shards
    else:
        from etude.fusion.readers.arrow import open_shards
    return open_shards
