"""Reading shards with Petastorm."""

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
    """See `etude.fusion.readers`. One reader an epoch; order and sharding are ours, so Petastorm's own are off.

    One worker: with more, row groups arrive in whichever order they were read.
    """
    with warnings.catch_warnings():
        # Petastorm 0.12 calls parts of pyarrow that later versions drop.
        warnings.simplefilter("ignore", FutureWarning)
        with make_batch_reader(
            # Petastorm takes what stands in a URL for the path itself, escapes and all.
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
