"""A run that stalls until another has taken over its lease, and wakes when that one has ended, changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
from nights import FIRST

from etude.lake import Lake, ledger
from lakes import assert_equal

pytestmark = pytest.mark.slow

TABLES = ("plays", "rejects", "ingested_files", "users", "tracks", "interactions")
TIMEOUT_S = 10


def wait_until(true, process, seconds=300):
    limit = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "the job ended too early"
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture(scope="module")
def woken(nights, backwards, submit_command, submit, tmp_path_factory):
    """Stop a backfill before it writes, run another to its end, and let the first go on; return its exit and output."""
    root = shutil.copytree(backwards.second, tmp_path_factory.mktemp("stall") / "lake")
    arguments = nights.arguments("ingest", root, f"lake.lease_timeout_s={TIMEOUT_S}", night=FIRST)
    command = submit_command("ingest", *arguments, "--run-id", "stalled")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: any(root.glob("_checkpoints/ingest-stalled.*/*")), process)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(TIMEOUT_S + 1)
        other = submit("ingest", *arguments, "--run-id", "other")
        assert other.returncode == 0, other.stderr[-3000:]
        os.killpg(process.pid, signal.SIGCONT)
        said, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    return root, process.returncode, json.loads(said.splitlines()[-1])


def test_it_exits_with_5_and_says_why(woken):
    _, code, line = woken
    assert (code, line["status"]) == (5, "failed")
    assert "has taken over the lease" in line["error"]


def test_the_tables_are_as_the_other_run_left_them(woken, backwards):
    assert_equal(woken[0], backwards.both, TABLES)


@pytest.mark.parametrize(("table", "index"), [("users", "user_idx"), ("tracks", "track_idx")])
def test_no_two_share_an_index(woken, table, index):
    counted = Counter(row[index] for row in Lake(str(woken[0])).look(table, (index,)))
    assert max(counted.values()) == 1


def test_the_ledger_tells_of_both(woken):
    graph = ledger.graph(Lake(str(woken[0])))
    assert graph.succeeded("ingest", "other") is not None
    assert graph.run("ingest", "stalled").status == "failed"
