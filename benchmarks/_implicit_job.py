"""Factorise a lake's interactions by implicit, as a plain script would: read, build the matrix, fit, write.

python benchmarks/_implicit_job.py LAKE OUT RANK ITERATIONS THREADS
"""

from __future__ import annotations

import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as implicit advises; its own threads do the work

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix


def main(lake: str, out: str, rank: int, iterations: int, threads: int) -> None:
    begun = time.monotonic()
    columns = ["user_idx", "track_idx", "play_count"]
    rows = ds.dataset(DeltaTable(f"{lake}/interactions").file_uris()).to_table(columns=columns)
    users, tracks, plays = (rows[name].to_numpy() for name in columns)
    confidence = csr_matrix(((1 + np.log1p(plays)).astype(np.float32), (users, tracks)))
    read = time.monotonic()
    model = AlternatingLeastSquares(
        rank, regularization=10.0, alpha=1.0, iterations=iterations, num_threads=threads, random_state=1
    )
    model.fit(confidence, show_progress=False)
    fitted = time.monotonic()
    for side, factors in (("user", model.user_factors), ("track", model.item_factors)):
        lists = pa.ListArray.from_arrays(np.arange(len(factors) + 1, dtype=np.int32) * rank, factors.reshape(-1))
        table = pa.table({f"{side}_idx": pa.array(np.arange(len(factors), dtype=np.int32)), "factors": lists})
        write_deltalake(f"{out}/{side}_factors", table, mode="overwrite")
    ended = time.monotonic()
    print(f'{{"read_s": {read - begun:.2f}, "fit_s": {fitted - read:.2f}, "write_s": {ended - fitted:.2f}}}')


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:6]))
