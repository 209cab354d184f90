"""Fit by ranks that are threads of one process, whose blocks are dealt as Spark's tasks would."""

from __future__ import annotations

import threading
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
from rings import Together

from etude.factors.barrier import memory
from etude.factors.barrier.kept import Kept
from etude.factors.barrier.rank import Task, work
from etude.factors.barrier.rows import OTHER, SIDES, Deal, _Chunks, received
from etude.factors.blocks import Axis, Packer


def on_machines(monkeypatch, of_rank):
    """Let each rank believe that it runs on the machine with its number in `of_rank`."""

    def identity():
        return f"machine {of_rank[int(threading.current_thread().name.split()[1])]}"

    monkeypatch.setattr(memory.machine, "identity", identity)


class Fitted:
    """Fit by some ranks."""

    def __init__(self, folder, ranks, settings, played):
        self.settings, self.ranks = settings, ranks
        counts = {side: played[f"{side}_idx"].value_counts().sort_index() for side in SIDES}
        self.axes = {side: Axis(found.index.to_numpy("i4"), found.to_numpy()) for side, found in counts.items()}
        self.deals = {side: Deal.of(axis.counts, ranks, settings) for side, axis in self.axes.items()}
        self.chunks = self.dealt(played)
        self.kept = Kept(str(folder), "fit")

    def dealt(self, played):
        positions = {side: SimpleNamespace(value=axis.positions()) for side, axis in self.axes.items()}
        packers = {side: Packer(positions[side], positions[OTHER[side]], self.deals[side].starts) for side in SIDES}
        deal = _Chunks(packers, self.deals, np.arange(self.ranks), self.settings)
        found = defaultdict(list)
        batches = pa.Table.from_pandas(played, preserve_index=False).to_batches(
            max_chunksize=max(30, len(played) // 10)
        )
        for batch in deal(batches):
            for row in batch.to_pylist():
                found[row["key"]].append(row)
        return found

    def run(self):
        task = Task(self.axes, self.deals, self.settings, self.kept, self.kept.newest(), f"by{self.ranks}")

        def rank_of(rank, door):
            return work(task, rank, received(self.chunks[rank], self.deals, rank), door, self.ranks)

        return Together(self.ranks).run(rank_of)

    def factors(self, side):
        return self.kept.read(self.kept.newest(), side, slice(0, len(self.axes[side])))

    def frame(self, side):
        return pd.DataFrame({f"{side}_idx": self.axes[side].idx, "factors": list(self.factors(side))})


def fitted(folder, ranks, settings, played):
    found = Fitted(folder, ranks, settings, played)
    found.run()
    return found


def assert_same_factors(found, expected):
    for side in SIDES:
        one = expected.factors(side)
        assert np.linalg.norm(found.factors(side) - one) < 1e-5 * np.linalg.norm(one)
