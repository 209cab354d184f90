"""Which of the runs that say `running` are at work, and what the others wrote."""

import json
import os
import time
from datetime import date
from pathlib import Path

import pytest

from etude import storage
from etude.cli.main import main
from etude.lake import Lake, ledger
from etude.lake.lease import leased
from etude.lake.runs import Run, utc_now
from small_lake import fill, tables

DAY = date(2026, 1, 31)
TIMEOUT_S = 60


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "lake"


def begin(root: Path, job="ingest", run_id="r") -> Run:
    """Write a run's first row, and a table by its name; the rest is left to the test."""
    lake = Lake(str(root), writer=f"job={job} run_id={run_id}")
    run = Run(run_id, job, DAY, "none", utc_now(), settings={"lake": {"lease_timeout_s": TIMEOUT_S}})
    ledger.begin(lake, run)
    fill(lake, "users", tables()["users"])
    return run


def lease_of(root: Path, run: Run, **holder) -> Path:
    """Write a lease as another machine would have."""
    file = Path(storage.filesystem(ledger.lease(Lake(str(root)), run))[1])
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"run_id": run.run_id, "machine": "m", "pid": 1, "token": "t", "host": "h"} | holder))
    return file


def listed(root: Path, capsys, *words: str) -> list[dict]:
    assert main(["runs", "--json", "--lake", str(root), *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("job", ["ingest", "wmf"])
def test_a_run_that_holds_its_lease_is_running(root, job, capsys):
    run = begin(root, job)
    with leased(None, ledger.lease(Lake(str(root)), run), run.run_id, TIMEOUT_S):
        assert [row["status"] for row in listed(root, capsys)] == ["running"]
        assert listed(root, capsys, "--status", "dead") == []
    (row,) = listed(root, capsys)
    assert (row["status"], row["error"]) == ("dead", "the process ended without recording a result (killed?)")
    assert listed(root, capsys, "--status", "running") == []


def test_a_lease_of_another_machine_tells_by_the_age_of_its_heartbeat(root, capsys):
    lease = lease_of(root, begin(root))
    assert [row["status"] for row in listed(root, capsys)] == ["running"]
    old = time.time() - TIMEOUT_S - 1
    os.utime(lease, (old, old))
    assert [row["status"] for row in listed(root, capsys)] == ["dead"]


def test_a_lease_of_another_run_says_nothing_of_this_one(root, capsys):
    run = begin(root)
    lease_of(root, run, run_id="other")
    assert [row["status"] for row in listed(root, capsys)] == ["dead"]


def test_a_reader_that_may_not_write_is_told_too(root, capsys, monkeypatch):
    lease = lease_of(root, begin(root))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", forbidden)
        assert [row["status"] for row in listed(root, capsys)] == ["running"]
        old = time.time() - TIMEOUT_S - 1
        os.utime(lease, (old, old))
        assert [row["status"] for row in listed(root, capsys)] == ["dead"]


def forbidden(uri, data):
    raise PermissionError(uri)


def test_a_run_that_ends_while_it_is_looked_at_is_not_dead(root, monkeypatch):
    run, lake = begin(root), Lake(str(root))

    def ends(*_):
        ledger.write(lake, Run(run.run_id, run.job, DAY, "none", run.started_at, status="succeeded"))
        return False

    monkeypatch.setattr(ledger, "is_held_by", ends)
    assert [each.status for each in ledger.as_they_are(lake, [run])] == ["succeeded"]


def test_what_a_dead_run_wrote_is_shown(root, capsys):
    begin(root)
    version = Lake(str(root)).version("users")
    fill(Lake(str(root), writer="job=ingest run_id=later"), "users", tables()["users"])
    assert [row["outputs"] for row in listed(root, capsys)] == [{"users": version}]
    assert main(["show", "r", "--lake", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"wrote users v{version}" in said and "ingest r: dead" in said
    assert main(["runs", "--lake", str(root)]) == 0
    assert " dead " in capsys.readouterr().out
