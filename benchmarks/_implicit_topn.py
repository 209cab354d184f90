"""List the best unheard tracks of every user by implicit, as a plain script would: read, search, write.

python benchmarks/_implicit_topn.py LAKE RUN_ID OUT N THREADS
"""

from __future__ import annotations

import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as implicit advises; its own threads do the work

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from implicit.cpu.topk import topk
from scipy.sparse import csr_matrix

_TOGETHER = 10_000


def factors_of(lake: str, side: str, run_id: str) -> np.ndarray:
    rows = ds.dataset(DeltaTable(f"{lake}/{side}_factors").file_uris(), partitioning="hive").to_table(
        columns=[f"{side}_idx", "factors"], filter=pc.field("run_id") == run_id
    )
    idx = rows[f"{side}_idx"].to_numpy()
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in rows["factors"].chunks])
    values = np.zeros((idx.max() + 1, len(flat) // len(idx)), np.float32)
    values[idx] = flat.reshape(len(idx), -1)
    return values


def main(lake: str, run_id: str, out: str, n: int, threads: int) -> None:
    begun = time.monotonic()
    users, tracks = factors_of(lake, "user", run_id), factors_of(lake, "track", run_id)
    pairs = ds.dataset(DeltaTable(f"{lake}/interactions").file_uris()).to_table(columns=["user_idx", "track_idx"])
    user, track = (column.to_numpy() for column in pairs.columns)
    heard = csr_matrix((np.ones(len(user), np.float32), (user, track)), shape=(len(users), len(tracks)))
    rows = ds.dataset(DeltaTable(f"{lake}/tracks").file_uris()).to_table(columns=["track_idx", "track_id"])
    ids = rows.sort_by("track_idx")["track_id"].combine_chunks()
    read = time.monotonic()
    searched = 0.0

    def lists():
        nonlocal searched
        for first in range(0, len(users), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            at = time.monotonic()
            found, scores = topk(tracks, users[some], n, filter_query_items=heard[some], num_threads=threads)
            searched += time.monotonic() - at
            count = len(found)
            yield pa.record_batch(
                [
                    pa.array(np.repeat(np.arange(first, first + count, dtype=np.int32), n)),
                    pa.array(np.tile(np.arange(1, n + 1, dtype=np.int32), count)),
                    ids.take(pa.array(found.ravel())),
                    pa.array(scores.ravel()),
                ],
                schema=schema,
            )

    schema = pa.schema({"user_idx": pa.int32(), "position": pa.int32(), "track_id": pa.string(), "score": pa.float32()})
    write_deltalake(out, pa.RecordBatchReader.from_batches(schema, lists()), mode="overwrite")
    whole = time.monotonic() - begun
    print(f'{{"read_s": {read - begun:.2f}, "search_s": {searched:.2f}, "whole_s": {whole:.2f}}}')


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
