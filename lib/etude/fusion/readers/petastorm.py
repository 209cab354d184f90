"""Read shards with Petastorm."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote

import numpy as np
from petastorm import make_batch_reader
from petastorm.reader import Reader

from etude.errors import DataCheckError
from etude.fusion.shards import Shard


@contextmanager
def open_shards(shards: Sequence[Shard], columns: Sequence[str]) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Open shards, see `etude.fusion.readers`, with one reader per epoch.

    Etude orders and shards the rows, so Petastorm's own shuffling and sharding are off. There is one worker, because
    several workers yield row groups in the order in which they finish.
    """
    with warnings.catch_warnings():
        # Petastorm 0.12 calls deprecated parts of pyarrow.
        warnings.simplefilter("ignore", FutureWarning)
        with make_batch_reader(
            # Petastorm uses the text of a URL as the path and doesn't decode escapes.
            [unquote(shard.uri) for shard in shards],
            schema_fields=[f"^{name}$" for name in columns],
            reader_pool_type="thread",
            workers_count=1,
            results_queue_size=4,
            shuffle_row_groups=False,
            num_epochs=1,
        ) as reader:
            yield _row_groups(reader, columns)


def _row_groups(reader: Reader, columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    try:
        for group in reader:
            yield {name: getattr(group, name) for name in columns}
    except RuntimeError as error:
        if "same length" in str(error):
            raise DataCheckError(f"examples: arrays of different lengths ({error})") from error
        raise
