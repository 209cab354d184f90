"""Read shards with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etude import storage
from etude.errors import DataCheckError
from etude.fusion.shards import Shard


@contextmanager
def open_shards(shards: Sequence[Shard], columns: Sequence[str]) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Open shards, see `etude.fusion.readers`."""
    yield _row_groups(shards, columns)


def _row_groups(shards: Sequence[Shard], columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    for shard in shards:
        system, path = storage.filesystem(shard.uri)
        with system.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=list(columns)).combine_chunks()
                yield {name: _array(name, table.column(name)) for name in columns}


def _array(name: str, column: pa.ChunkedArray) -> np.ndarray:
    values = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if not pa.types.is_list(values.type):
        return values.to_numpy(zero_copy_only=False)
    sizes = np.diff(values.offsets.to_numpy())
    if values.null_count or (sizes != sizes[0]).any():
        raise DataCheckError(f"examples.{name}: arrays of different lengths")
    return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), int(sizes[0]))
