"""Read batches behind one interface: a setting chooses the library that opens the files; the rows are the same.

A reader opens a list of shards and yields one dictionary of arrays per row group, in the order of the list. The module
`batches` does the rest (row order, batches, counting) for all readers.
"""

from __future__ import annotations

from etude.fusion.readers.batches import Opener, batches, epoch_batches

__all__ = ["Opener", "batches", "epoch_batches", "reader"]


def reader(name: str) -> Opener:
    """Return the reader that `train.reader` names."""
    if name == "petastorm":
        from etude.fusion.readers.petastorm import open_shards
    else:
        from etude.fusion.readers.arrow import open_shards
    return open_shards
