"""The barrier stage survives the loss of a rank, and goes on where an earlier attempt ended."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from dense import small_interactions, sorted_pandas
from py4j.protocol import Py4JJavaError

from etude import storage
from etude.causes import cause_of
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, EtudeError, SettingsError
from etude.factors.barrier import rows, stage
from etude.factors.barrier.kept import Kept
from etude.factors.blocks import Axis
from etude.factors.fit import Earlier
from etude.slots import wait_for_slots
from etude.vectors import SizeLimit, collect

pytestmark = pytest.mark.slow

WMF = WmfSettings(rank=6, iterations=4000, confidence="linear", alpha=5, regularization=2, checkpoint_interval=100)
PLAYED = small_interactions()
LIMIT = SizeLimit(10, "none", "")


@pytest.fixture(autouse=True)
def two_ranks(monkeypatch, caplog):
    """Cut so small blocks that both slots get some, and let the tests read what is logged."""
    monkeypatch.setattr(rows, "_LEAST_COST", 40)
    monkeypatch.setattr(logging.getLogger("etude"), "propagate", True)
    caplog.set_level(logging.INFO, "etude.wmf")


@pytest.fixture(scope="module")
def plays(frame_of):
    return frame_of(PLAYED, 2).cache()


@pytest.fixture(scope="module")
def unbroken(plays, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_LEAST_COST", 40)
        return values(stage.fit(plays, WMF, str(tmp_path_factory.mktemp("unbroken"))))


def values(fit):
    return [collect(frame, f"{side}_idx", LIMIT).values for side, frame in (("user", fit.users), ("track", fit.tracks))]


def same(found, expected):
    return all(np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b) for a, b in zip(found, expected, strict=True))


def kill_a_rank(folder: Path) -> threading.Thread:
    """SIGKILL the Python worker that has computed most, after the first kept iteration."""

    def run():
        deadline = time.monotonic() + 60
        while told(folder) <= WMF.checkpoint_interval and time.monotonic() < deadline:
            time.sleep(0.01)
        busy = max(workers(), key=lambda each: each.cpu_times().user)
        os.kill(busy.pid, signal.SIGKILL)

    killer = threading.Thread(target=run)
    killer.start()
    return killer


def workers() -> list[psutil.Process]:
    """The Python workers of this test's Spark: children of its daemon."""
    alive = [each for each in psutil.Process().children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]
    daemons = [each for each in alive if "warm_daemon" in " ".join(each.cmdline())]
    return [each for each in daemons if each.parent() in daemons]


def told(folder: Path) -> int:
    names = storage.list_folders(str(folder))
    return Kept(str(folder), names[0]).told() if names else 0


def test_a_killed_rank_costs_no_more_than_the_iterations_since_the_last_kept(plays, unbroken, tmp_path, caplog):
    killer = kill_a_rank(tmp_path)
    fit = stage.fit(plays, WMF, str(tmp_path))
    killer.join()
    assert "ranks=2 lost a rank; the fit goes on after iteration=" in caplog.text
    assert "engine=barrier goes on after iteration=" in caplog.text
    assert [step for step, _ in fit.losses] == list(range(1, 4001))
    assert same(values(fit), unbroken)


def test_a_fit_that_failed_goes_on_when_it_is_started_again(plays, unbroken, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(stage, "_ATTEMPTS", 1)
    killer = kill_a_rank(tmp_path)
    with pytest.raises(EtudeError, match=r"were lost 1 times after iteration \d+ \(.+\): their processes were killed"):
        stage.fit(plays, WMF, str(tmp_path))
    killer.join()
    caplog.clear()
    fit = stage.fit(plays, WMF, str(tmp_path))
    assert "engine=barrier goes on after iteration=" in caplog.text
    assert same(values(fit), unbroken)


def test_a_stage_that_lacks_slots_is_started_again(plays, unbroken, tmp_path, caplog, monkeypatch):
    """Spark would let it wait without limit."""
    slots = iter([0, 0])
    monkeypatch.setattr(stage, "_WAIT_S", 0.0)
    monkeypatch.setattr(stage, "all_slots", lambda _: next(slots, 2))
    fit = stage.fit(plays, WMF, str(tmp_path))
    assert caplog.text.count("lost a rank; the fit goes on") >= 2
    assert same(values(fit), unbroken)


def test_a_fit_of_other_interactions_or_settings_starts_anew(frame_of, tmp_path, caplog):
    few = WMF.model_copy(update={"iterations": 2})
    stage.fit(frame_of(PLAYED), few, str(tmp_path / "fits"))
    caplog.clear()
    stage.fit(frame_of(PLAYED.sample(frac=1, random_state=1)), few, str(tmp_path / "fits"))  # the same in another order
    assert "engine=barrier ranks" not in caplog.text
    before = stage.fit(frame_of(PLAYED), few, str(tmp_path / "before"))
    for played, settings, earlier in (
        (PLAYED.assign(play_count=PLAYED.play_count + (PLAYED.index == 7)), few, None),
        (PLAYED, few.model_copy(update={"regularization": 3.0}), None),
        (PLAYED, few, Earlier(before.users, before.tracks, "first")),
        (PLAYED, few, Earlier(before.users, before.tracks, "second")),
    ):
        stage.fit(frame_of(played), settings, str(tmp_path / "fits"), earlier=earlier)
        assert "engine=barrier ranks=2" in caplog.text
        assert len(storage.list_folders(str(tmp_path / "fits"))) == 1
        caplog.clear()


def test_one_rank_and_two_find_the_same(plays, tmp_path):
    few = WMF.model_copy(update={"iterations": 3, "solver": "cholesky"})
    one = values(stage.fit(plays, few.model_copy(update={"partitions": 1}), str(tmp_path / "one")))
    two = stage.fit(plays, few, str(tmp_path / "two"))
    assert list(sorted_pandas(two.users).user_idx) == sorted(PLAYED.user_idx.unique())
    for a, b in zip(one, values(two), strict=True):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


def test_factors_that_are_not_finite_stop_the_fit(plays, tmp_path):
    with pytest.raises(DataCheckError, match=r"iteration 1, users: factors of 60 of 60 rows are not finite"):
        stage.fit(plays, WMF.model_copy(update={"alpha": 1e38}), str(tmp_path))


def test_an_error_of_a_rank_is_told_and_not_tried_again(plays, tmp_path, caplog, monkeypatch):
    users, cells = Axis.with_hash(plays, "user_idx")
    axes = {"user": users, "track": Axis.of(plays, "track_idx")}
    kept = Kept(str(tmp_path), stage._fingerprint(cells, axes, WMF, None))
    monkeypatch.setattr(stage.uuid, "uuid4", lambda: SimpleNamespace(hex="again"))
    storage.write_bytes(storage.join(kept.uri, "100-again"), b"a file where the folder of an iteration should be")
    with pytest.raises(Py4JJavaError) as told:
        stage.fit(plays, WMF, str(tmp_path))
    assert cause_of(told.value).startswith("Py4JJavaError: NotADirectoryError: ")
    assert "lost a rank" not in caplog.text


def test_an_interrupt_ends_the_stage(plays, tmp_path):
    def interrupted(items, desc, total):
        yield next(iter(items))
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stage.fit(plays, WMF.model_copy(update={"iterations": 10**7}), str(tmp_path), interrupted)
    assert time.monotonic() - begun < 60
    assert wait_for_slots(plays.sparkSession, 2, timeout_s=0) == 2


def test_a_session_without_lasting_executors_is_refused(plays, tmp_path, monkeypatch):
    assert stage.unavailable(plays.sparkSession) is None
    monkeypatch.setattr(stage, "wait_for_slots", lambda *_: 0)
    assert stage.unavailable(plays.sparkSession) == "no task slot is free"
    monkeypatch.setattr(stage, "lasting_executors", lambda _: False)
    with pytest.raises(SettingsError, match=r"wmf.engine=barrier: dynamic allocation .*; take wmf.engine=auto"):
        stage.fit(plays, WMF, str(tmp_path))
