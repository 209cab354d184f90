"""Ranks find the factors that one rank finds, on one machine and on several."""

from __future__ import annotations

import errno
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
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
from etude.factors.barrier.kept import Kept, Newest, ReplacedError
from etude.factors.barrier.ring import Ring
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


def test_the_newest_complete_iterations_are_kept(tmp_path):
    """Two of them: an attempt may be starting from the one before."""
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(3, dtype="i4"), np.eye(3, dtype="f4"))
    for iteration in (2, 4, 10):
        kept.write(iteration, "a", "user", slice(0, 3), [some])
        kept.complete(iteration, "a", [(iteration, 1.5)])
    assert storage.list_folders(kept.uri) == ["10-a", "4-a"]
    kept.write(12, "a", "user", slice(0, 3), [some])  # and no more: a rank was lost
    assert kept.newest() == (10, "a", [(10, 1.5)])
    kept.remove_unfinished()
    assert storage.list_folders(kept.uri) == ["10-a", "4-a"]
    Kept(str(tmp_path), "other").remove_others()
    assert kept.newest() == (0, "", [])


def test_what_a_lost_attempt_has_written_is_not_among_the_rows(tmp_path):
    """Other ranks cut the rows elsewhere, so a file that stays would repeat some."""
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(3, dtype="i4"), np.ones((3, 3), dtype="f4"))
    kept.write(2, "lost", "user", slice(2, 3), [some.where(some.idx == 2)])
    kept.write(2, "new", "user", slice(0, 3), [some])
    kept.complete(2, "new", [])
    kept.write(2, "lost", "user", slice(1, 2), [some.where(some.idx == 1)])  # by a rank that was thought dead
    assert len(storage.list_files(kept.folder(kept.newest(), "user"))) == 1
    assert kept.read(kept.newest(), "user", slice(0, 3)).tolist() == some.values.tolist()


def test_ranks_that_were_thought_dead_take_nothing_from_others(tmp_path):
    """Both attempts are at work: the driver of the first has stalled, and another run has its lease."""
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(6, dtype="i4"), np.ones((6, 2), dtype="f4"))
    kept.write(5, "new", "user", slice(0, 3), [some.where(some.idx < 3)])
    kept.write(5, "old", "user", slice(0, 6), [some])
    kept.complete(5, "old", [])
    kept.write(5, "new", "user", slice(3, 6), [some.where(some.idx >= 3)])
    kept.complete(5, "new", [])
    for attempt in ("new", "old"):
        kept.check(Newest(5, attempt, []), "user", 6)


def test_an_iteration_that_was_replaced_is_told_from_an_error(tmp_path):
    kept = Kept(str(tmp_path), "fit")
    some = Factors(np.arange(3, dtype="i4"), np.ones((3, 2), dtype="f4"))
    for iteration in (2, 4, 6):
        kept.write(iteration, "a", "user", slice(0, 3), [some])
        kept.complete(iteration, "a", [])
    assert kept.read(Newest(4, "a", []), "user", slice(1, 3)).tolist() == [[1.0, 1.0]] * 2
    with pytest.raises(ReplacedError):
        kept.read(Newest(2, "a", []), "user", slice(0, 3))


@pytest.mark.parametrize("spans", [[(3, 6)], [(0, 3)], [(0, 2), (3, 6)], []])
def test_a_fit_that_lacks_rows_is_none(tmp_path, spans):
    kept = Kept(str(tmp_path), "fit")
    for first, end in spans:
        idx = np.arange(first, end, dtype="i4")
        kept.write(5, "a", "user", slice(first, end), [Factors(idx, np.ones((len(idx), 2), "f4"))])
    kept.complete(5, "a", [])
    with pytest.raises(EtudeError, match="iteration 5 of the fit lacks rows of users"):
        kept.check(kept.newest(), "user", 6)


def test_a_store_that_does_not_answer_costs_progress_only(tmp_path, monkeypatch):
    kept = Kept(str(tmp_path), "fit")
    kept.tell(3)
    assert kept.told() == 3

    def busy(*_):
        raise OSError("503 slow down")

    monkeypatch.setattr(storage, "read_bytes", busy)
    monkeypatch.setattr(storage, "write_bytes", busy)
    kept.tell(4)
    assert kept.told() == 0


def test_without_room_in_shared_memory_the_factors_lie_in_a_temporary_file(monkeypatch, tmp_path):
    """Another fit has taken the room since it was looked at. What a killed process left there is removed."""
    shared, elsewhere = tmp_path / "shm", tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(memory, "_SHARED_MEMORY", shared)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    monkeypatch.setattr("etude.scratch._machine", lambda: "0" * 8)
    left = shared / f"etude-run-{'0' * 8}-{2**22 + 1}-7-abcd"
    left.mkdir(parents=True)
    (left / "factors").write_bytes(b"12345")
    places, reserve = [], memory._reserve

    def full(handle, size):
        places.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        if places[-1].startswith(str(shared)):
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(handle, size)

    monkeypatch.setattr(memory, "_reserve", full)
    made = memory.share({"user": (3, 2)}, Ring(0, 1, None))
    assert made["user"].tolist() == [[0.0, 0.0]] * 3
    assert [place.startswith(str(where)) for place, where in zip(places, (shared, elsewhere), strict=True)] == [
        True
    ] * 2
    assert not [*shared.iterdir(), *elsewhere.iterdir()]


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
    for size, place in ((101, tmp_path), (99, memory._SHARED_MEMORY)):
        with ExitStack() as until:
            file = Path(memory._reserved(size, until))
            assert file.stat().st_size == size and file.is_relative_to(place)
        assert not file.parent.exists()
