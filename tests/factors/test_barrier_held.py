"""Machines that read few rows of a side hold just these, and find the same factors."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from barrier_fits import Fitted, assert_same_factors, fitted, on_machines
from rings import Together

from etude.config.wmf import WmfSettings
from etude.factors.barrier import common, held, rows
from etude.factors.barrier.held import Between, Held, choose, needed
from etude.factors.barrier.rank import Task
from etude.factors.barrier.ring import new_key
from etude.factors.blocks import Block

WMF = WmfSettings(rank=6, iterations=3, confidence="linear", alpha=5, regularization=2, checkpoint_interval=3)


def circles(users, tracks, plays, width, seed=0):
    """Return interactions of users with tracks near their own place, and of a few with any track."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), plays)
    near = user * tracks // users + rng.integers(0, width, len(user))
    track = np.where(rng.random(len(user)) < 0.02, rng.integers(0, tracks, len(user)), near) % tracks
    found = pd.DataFrame({"user_idx": user, "track_idx": track}).drop_duplicates().astype("int32")
    return found.assign(play_count=rng.integers(1, 9, len(found)))


PLAYED = circles(400, 300, 6, 12)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(rows, "_LEAST_COST", 40)


@pytest.fixture
def alone(tmp_path):
    return fitted(tmp_path / "alone", 1, WMF, PLAYED)


@pytest.mark.parametrize("of_rank", [[0, 1, 2], [0, 0, 1, 2, 1], list(range(6))], ids=lambda m: f"on {m}")
def test_machines_that_hold_what_they_read_find_the_same(alone, tmp_path, monkeypatch, of_rank):
    on_machines(monkeypatch, of_rank)
    exchanged = []
    monkeypatch.setattr(common, "Between", lambda *given: exchanged.append(given[1]) or Between(*given))
    several = Fitted(tmp_path / "several", len(of_rank), WMF, PLAYED)
    several.run()
    assert len(exchanged) == 2 * len(set(of_rank)), "a side was held whole"
    assert max(each.size / len(each.places) for each in exchanged) < held.MOST_SHARE
    assert_same_factors(several, alone)


def test_one_side_may_be_whole_and_the_other_not(tmp_path, monkeypatch):
    """Few tracks, which every machine reads, and users whom one machine reads each."""
    played = circles(600, 20, 2, 6)
    of_rank = list(range(4))
    on_machines(monkeypatch, of_rank)
    exchanged = []
    monkeypatch.setattr(common, "Between", lambda *given: exchanged.append(given[1]) or Between(*given))
    one, several = Fitted(tmp_path / "one", 1, WMF, played), Fitted(tmp_path / "several", 4, WMF, played)
    monkeypatch.setattr(held, "MOST_SHARE", 0.5)
    several.run()
    assert {len(each.places) for each in exchanged} == {600}
    on_machines(monkeypatch, [0])
    one.run()
    assert_same_factors(several, one)


def test_what_a_rank_needs_is_what_it_solves_and_reads():
    block = Block(0, 0, np.array([0, 2, 3]), np.array([1, 7, 7], np.int32), np.ones(3, np.float32))
    assert needed([block], slice(3, 5), 9).nonzero()[0].tolist() == [1, 3, 4, 7]
    part = Held(4, np.array([-1, 0, -1, 1, 2, -1, -1, 3, -1], np.int32))
    assert part.renumbered(block).columns.tolist() == [0, 3, 3]
    assert part.of(slice(3, 5)) == slice(1, 3)
    assert part.of(slice(9, 9)) == slice(0, 0)
    assert Held(9).of(slice(3, 5)) == slice(3, 5)
    assert Held(9).renumbered(block) is block


@pytest.mark.parametrize(("second", "whole"), [([0, 1], False), (range(9), True)])
def test_all_machines_hold_the_whole_if_one_needs_most_of_it(second, whole):
    def member(rank, door):
        mask = np.zeros(10, np.bool_)
        mask[[5] if rank == 0 else list(second)] = True
        return choose(mask, door.join(rank, [rank]), door.join(rank, range(2)))

    one, other = Together(2).run(member)
    if whole:
        assert (one, other) == (Held(10), Held(10))
    else:
        assert (one.size, other.size) == (1, 2)
        assert one.places.tolist() == [-1] * 5 + [0] + [-1] * 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit and /proc are Linux's")
def test_ranks_without_memory_for_both_sides_find_the_same(tmp_path):
    """Four machines with 210 MB each, where both sides are 290 MB. A fit that holds them whole fails."""
    settings = WMF.model_copy(update={"rank": 64, "iterations": 2, "checkpoint_interval": 2})
    played, ranks = circles(600_000, 600_000, 4, 50), 4
    found = Fitted(tmp_path / "denied", ranks, settings, played)
    whole = sum(4 * 64 * len(axis) for axis in found.axes.values()) >> 20
    assert whole > 280
    task = Task(found.axes, found.deals, settings, found.kept, found.kept.newest(), "denied")
    said = run_apart(tmp_path / "whole", task, found.chunks, ranks, 210, share=0.0)
    assert any("Cannot allocate memory" in text for text in said), said
    assert not found.kept.newest().iteration
    assert run_apart(tmp_path / "parts", task, found.chunks, ranks, 210, share=held.MOST_SHARE) == [""] * ranks
    one = fitted(tmp_path / "one", 1, settings, played)
    assert_same_factors(found, one)


def run_apart(folder: Path, task: Task, chunks, ranks: int, megabytes: int, share: float) -> list[str]:
    """Run each rank in a process that may take so much memory for the fit; return the last lines of errors."""
    folder.mkdir()
    (folder / "task").write_bytes(pickle.dumps((task, new_key())))
    for rank in range(ranks):
        (folder / f"chunks-{rank}").write_bytes(pickle.dumps(chunks[rank]))
    script = str(Path(__file__).with_name("denied.py"))
    # An arena of malloc's counts as 64 MB of address space.
    few_arenas = {**os.environ, "MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    started = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(rank), str(ranks), str(megabytes), str(share)],
            stderr=subprocess.PIPE, text=True, env=few_arenas,
        )
        for rank in range(ranks)
    ]  # fmt: skip
    said = [each.communicate(timeout=120)[1].strip().splitlines() for each in started]
    return [lines[-1] if each.returncode else "" for each, lines in zip(started, said, strict=True)]
