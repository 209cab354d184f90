"""One run at a time, whatever else happens to its lease."""

import json
import os
import subprocess
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from etude import machine, storage
from etude.errors import LeaseTakenError
from etude.lake import lease
from etude.lake.lease import leased

NO_SPARK = None  # a lease in a local folder takes none
GONE = 2**22 + 1  # above the largest pid of Linux
MINE = {"run_id": "other", "host": "here", "machine": machine.identity(), "pid": os.getpid(), "token": "t"}


@pytest.fixture
def uri(tmp_path):
    return storage.join(str(tmp_path), "locks", "lease")


def write(uri, holder, age_s=0):
    content = holder if isinstance(holder, str) else json.dumps(MINE | holder)
    storage.write_bytes(uri, content.encode())
    os.utime(storage.filesystem(uri)[1], (time.time() - age_s,) * 2)


def holder_of(uri):
    return json.loads(storage.read_bytes(uri))["run_id"]


def eventually(true):
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("holder", "age_s"), [({"pid": GONE}, 0), ({"machine": "elsewhere"}, 601), ("not json", 601), ("", 601)]
)
def test_the_lease_of_a_dead_run_is_taken_over(uri, holder, age_s):
    write(uri, holder, age_s)
    with leased(NO_SPARK, uri, "mine", 600):
        assert holder_of(uri) == "mine"
    assert not storage.exists(uri)
    assert storage.list_files(uri.rpartition("/")[0]) == []


def test_the_lease_of_a_zombie_is_taken_over(uri):
    """A killed process stays in the table of processes until its parent, in a container often none, collects it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        process.kill()
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        write(uri, {"pid": process.pid})
        with leased(NO_SPARK, uri, "mine", 600):
            assert holder_of(uri) == "mine"


@pytest.mark.parametrize("holder", [{}, {"machine": "elsewhere"}, {"machine": "elsewhere", "pid": GONE}, "", "{"])
def test_the_lease_of_a_run_that_may_live_is_respected(uri, holder):
    write(uri, holder)
    before = storage.read_bytes(uri)
    with pytest.raises(LeaseTakenError, match="has the lease"), leased(NO_SPARK, uri, "mine", 600):
        pytest.fail("held twice")
    assert storage.read_bytes(uri) == before


def test_who_judged_a_lease_dead_does_not_take_it_from_who_was_quicker(uri):
    write(uri, {"pid": GONE})
    slow, dead = lease._Lease(NO_SPARK, uri, "slow", 600), lease._look(uri)
    with leased(NO_SPARK, uri, "quick", 600):
        with pytest.raises(LeaseTakenError):
            slow._take_over(dead)
        assert holder_of(uri) == "quick"


@pytest.mark.parametrize("holder", [None, {"pid": GONE}])
def test_of_many_at_once_one_holds(uri, holder):
    if holder:
        write(uri, holder)
    inside, refused, start, everyone = [], [], threading.Barrier(8), threading.Barrier(8)

    def compete(number):
        start.wait()
        try:
            with leased(NO_SPARK, uri, str(number), 600):
                inside.append(number)
                everyone.wait()
        except LeaseTakenError:
            refused.append(number)
            everyone.wait()

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


def test_a_claim_left_by_a_killed_run_does_not_bar_the_next_for_ever(uri):
    write(uri, {"pid": GONE})
    write(f"{uri}.claim", {"pid": GONE})
    with pytest.raises(LeaseTakenError), leased(NO_SPARK, uri, "mine", 600):
        pytest.fail("another run was taking it over")
    write(f"{uri}.claim", {"pid": GONE}, age_s=601)
    with leased(NO_SPARK, uri, "mine", 600):
        assert holder_of(uri) == "mine"


def test_a_beat_that_fails_is_not_the_last(uri, monkeypatch):
    failures = iter([OSError("no room")] * 2)
    write_bytes = storage.write_bytes

    def fails_at_first(*args):
        for error in failures:
            raise error
        write_bytes(*args)

    with leased(NO_SPARK, uri, "mine", 0.3):
        beats = f"{uri}.{json.loads(storage.read_bytes(uri))['token']}"
        monkeypatch.setattr(storage, "write_bytes", fails_at_first)
        eventually(lambda: storage.exists(beats) and storage.read_bytes(beats) != b"")
        assert next(failures, None) is None


def test_a_lease_that_is_gone_was_taken_over_by_a_run_that_has_ended(uri):
    with leased(NO_SPARK, uri, "mine", 0.3) as check:
        storage.delete(uri)
        with pytest.raises(LeaseTakenError, match="another run, which has ended"):
            check()
        time.sleep(0.2)
        assert not storage.exists(uri), "a beat makes no lease"


def test_a_run_that_wakes_overwrites_nothing_of_the_run_that_took_over(uri, monkeypatch):
    """It stalls in the middle of a beat, after it has seen its own lease."""
    with leased(NO_SPARK, uri, "mine", 600):
        sleeper = lease._Lease(NO_SPARK, uri, "sleeper", 600)
        monkeypatch.setattr(sleeper, "_is_mine", lambda found: True)
        before = storage.read_bytes(uri)
        sleeper._beat()
        assert storage.read_bytes(uri) == before


def test_a_stalled_run_of_this_machine_is_taken_over_when_its_heartbeat_is_old(uri):
    write(uri, {})
    beats = f"{uri}.{MINE['token']}"
    storage.write_bytes(beats, b"")
    for age_s, ends in ((0, pytest.raises(LeaseTakenError)), (601, nullcontext())):
        os.utime(storage.filesystem(beats)[1], (time.time() - age_s,) * 2)
        with ends, leased(NO_SPARK, uri, "mine", 600):
            assert holder_of(uri) == "mine"
    assert storage.list_files(uri.rpartition("/")[0]) == []


def test_a_full_disk_leaves_no_lease(uri, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    storage.write_bytes(f"{uri}.other", b"")
    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(OSError, match="No space"), leased(NO_SPARK, uri, "mine", 600):
        pytest.fail("taken")
    monkeypatch.undo()
    assert storage.list_files(uri.rpartition("/")[0]) == [f"{uri}.other"]


def test_a_lease_that_another_run_has_taken_over_is_left_to_it(uri):
    with leased(NO_SPARK, uri, "mine", 0.3) as check:
        check()
        write(uri, {})
        with pytest.raises(LeaseTakenError, match="has taken over the lease"):
            check()
        time.sleep(0.2)
        assert holder_of(uri) == "other"
    assert holder_of(uri) == "other"
