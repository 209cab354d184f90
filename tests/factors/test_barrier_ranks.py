"""Ranks find the factors that one rank finds, on one machine and on several."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from barrier_fits import Fitted, assert_same_factors, fitted, on_machines
from dense import dense_loss, small_interactions
from rings import Together

from etude import storage
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, EtudeError
from etude.factors import blocks
from etude.factors.barrier import memory, rows
from etude.factors.barrier.kept import Kept
from etude.factors.barrier.rows import received
from etude.vectors import Factors

WMF = WmfSettings(rank=6, iterations=4, confidence="linear", alpha=5, regularization=2, checkpoint_interval=2)
PLAYED = small_interactions()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(rows, "_LEAST_COST", 40)
    monkeypatch.setattr(blocks, "_FLUSH_ROWS", 100)


@pytest.fixture
def alone(tmp_path):
    return fitted(tmp_path / "alone", 1, WMF, PLAYED)


@pytest.mark.parametrize(
    "of_rank", [[0, 0], [0, 1], [0, 0, 0, 0, 0], [0, 0, 1], [0, 1, 0, 2, 1], list(range(4))], ids=lambda m: f"on {m}"
)
def test_any_ranks_on_any_machines_find_the_same(alone, tmp_path, monkeypatch, of_rank):
    on_machines(monkeypatch, of_rank)
    several = Fitted(tmp_path / "several", len(of_rank), WMF, PLAYED)
    several.run()
    assert_same_factors(several, alone)
    losses = dict(several.kept.newest().losses)
    assert list(losses) == [1, 2, 3, 4]
    assert losses[4] == pytest.approx(dense_loss(PLAYED, several.frame("user"), several.frame("track"), WMF), 1e-5)


def test_a_rank_may_have_no_rows_of_a_side(tmp_path, alone):
    """Sixteen ranks, and fewer blocks of tracks."""
    many = Fitted(tmp_path / "many", 16, WMF, PLAYED)
    empty = [rank for rank in range(16) if many.deals["track"].rows(rank).start == many.deals["track"].rows(rank).stop]
    assert empty
    many.run()
    assert np.linalg.norm(many.factors("track") - alone.factors("track")) < 1e-5 * np.linalg.norm(
        alone.factors("track")
    )


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_fit_goes_on_from_the_iteration_that_was_kept(alone, tmp_path, ranks):
    """With another number of ranks too."""
    short = Fitted(tmp_path, 2, WMF.model_copy(update={"iterations": 2}), PLAYED)
    short.run()
    assert short.kept.newest().iteration == 2
    rest = Fitted(tmp_path, ranks, WMF, PLAYED)
    rest.run()
    assert [step for step, _ in rest.kept.newest().losses] == [1, 2, 3, 4]
    assert_same_factors(rest, alone)


def test_only_the_newest_complete_iteration_is_kept(tmp_path):
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(3, dtype="i4"), np.eye(3, dtype="f4"))
    for iteration in (2, 10):
        kept.write(iteration, "a", "user", 0, [some])
        kept.complete(iteration, "a", [(iteration, 1.5)])
    assert storage.list_folders(kept.uri) == ["10-a"]
    kept.write(12, "a", "user", 0, [some])  # and no more: a rank was lost
    assert kept.newest() == (10, "a", [(10, 1.5)])
    Kept(str(tmp_path), "other").remove_others()
    assert kept.newest() == (0, "", [])


def test_what_a_lost_attempt_has_written_is_not_among_the_rows(tmp_path):
    """Other ranks cut the rows elsewhere, so a file that stays would repeat some."""
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(3, dtype="i4"), np.ones((3, 3), dtype="f4"))
    kept.write(2, "lost", "user", 2, [some.where(some.idx == 2)])
    kept.write(2, "new", "user", 0, [some])
    kept.complete(2, "new", [])
    kept.write(2, "lost", "user", 1, [some.where(some.idx == 1)])  # by a rank that was thought dead
    assert len(storage.list_files(kept.folder(kept.newest(), "user"))) == 1
    assert kept.read(kept.newest(), "user", slice(0, 3)).tolist() == some.values.tolist()


def test_all_ranks_know_that_factors_are_not_finite(tmp_path):
    with pytest.raises(DataCheckError, match=r"iteration 1, users: factors of 60 of 60 rows are not finite"):
        Fitted(tmp_path, 2, WMF.model_copy(update={"alpha": 1e38}), PLAYED).run()


def test_a_rank_that_lacks_a_block_says_so(tmp_path):
    found = Fitted(tmp_path, 2, WMF, PLAYED)
    found.chunks[1] = [row for row in found.chunks[1] if row["block"] != found.deals["user"].first[1]]
    with pytest.raises(EtudeError, match=r"rank 1 received \d+ blocks of users, expected \d+ others"):
        received(found.chunks[1], found.deals, 1)


def test_ranks_of_a_machine_share_memory_and_leave_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_SHARED_MEMORY", tmp_path)
    on_machines(monkeypatch, [0, 0, 1])
    three = threading.Barrier(3)

    def member(rank, door):
        groups = memory.machines(door.join(rank, range(3)))
        here = door.join(rank, next(group for group in groups if rank in group))
        values = memory.share({"user": (4, 2), "track": (0, 2)}, here)
        assert values["track"].shape == (0, 2)
        values["user"][rank] = rank + 1
        three.wait(10)
        return groups, values["user"].sum(axis=1).tolist()

    together, shared, other = (
        ([[0, 1], [2]], [2.0, 4.0, 0.0, 0.0]),
        ([[0, 1], [2]], [2.0, 4.0, 0.0, 0.0]),
        ([[0, 1], [2]], [0.0, 0.0, 6.0, 0.0]),
    )
    assert Together(3).run(member) == [together, shared, other]
    assert list(tmp_path.iterdir()) == []


def test_where_shared_memory_is_small_a_file_is_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(memory.tempfile, "gettempdir", lambda: str(tmp_path))
    assert memory._folder(101) == tmp_path
    assert memory._folder(99) == memory._SHARED_MEMORY
