"""Killed at any moment, a job leaves nothing that a reader takes for finished; the same command repairs the tables.

Each job is a real spark-submit, and each kill is SIGKILL to all of its processes: no handler and no `finally` runs.
"""

from __future__ import annotations

import json

import pytest
from killing import runs
from kills import AGAIN, POINTS
from nights import EPOCHS, SECOND

from etude.cli.main import main
from etude.lake import Lake, ledger, releases
from lakes import FITTED, assert_equal

pytestmark = pytest.mark.slow

KILLED = "the process ended without recording a result (killed?)"
NIGHT = str(SECOND)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_lease_of_a_dead_process(killed, point):
    job = killed[point]
    holder = json.loads(job.lease_file(job.left).read_text())
    assert holder["run_id"] == job.run_id
    assert not runs(holder["pid"])


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_a_status_file_that_says_running(killed, point):
    job = killed[point]
    assert (job.told(job.left)["status"], job.told(job.left)["run_id"]) == ("running", job.run_id)


@pytest.mark.parametrize("point", ["users", "files", "wmf", "train"])
def test_a_killed_run_does_not_count(killed, point):
    job = killed[point]
    assert (job.row(job.left).status, job.row(job.left).attempt) == ("running", 1)
    assert ledger.graph(Lake(str(job.left))).succeeded(job.name, job.run_id) is None


@pytest.mark.parametrize(
    ("point", "wrote"),
    [
        ("users", {"users"}),
        ("files", {"users", "tracks", "rejects", "plays", "interactions"}),
        ("wmf", {"splits"}),
        ("train", {"examples"}),
    ],
)
def test_the_commands_call_a_killed_run_dead_and_say_what_it_wrote(killed, point, wrote, capsys):
    job = killed[point]
    assert main(["runs", "--job", job.name, "--status", "dead", "--json", "--lake", str(job.left)]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["run_id"], row["error"]) == (job.run_id, KILLED)
    assert wrote <= set(row["outputs"])
    assert main(["runs", "--status", "running", "--lake", str(job.left)]) == 0
    assert capsys.readouterr().out == "no runs\n"


def test_topn_killed_after_success_leaves_the_lists_that_were_served(killed):
    topn = killed["topn"]
    assert topn.row(topn.left).status == "succeeded"
    assert releases.current(Lake(str(topn.left))).run_of("topn") == NIGHT


@pytest.mark.parametrize("point", POINTS)
def test_the_same_command_takes_over_the_lease_and_records_the_kill(repaired, point):
    job = repaired[point]
    row = job.row(job.root)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert row.earlier_errors == ([] if point == "topn" else [KILLED])
    assert not job.lease_file(job.root).exists()


@pytest.mark.parametrize("point", ["users", "files"])
def test_ingest_killed_between_two_tables_ends_as_an_unbroken_one(repaired, backwards, point):
    tables = ("plays", "rejects", "ingested_files", "users", "tracks", "interactions")
    assert_equal(repaired[point].root, backwards.both, tables)


def test_wmf_killed_between_splits_and_factors_ends_as_an_unbroken_one(repaired, two_nights):
    assert_equal(repaired["wmf"].root, two_nights.lake, FITTED, (AGAIN, NIGHT))


def test_train_killed_after_an_epoch_and_resumed_ends_as_an_unbroken_one(repaired, two_nights):
    root = repaired["train"].root
    assert_equal(root, two_nights.lake, ("examples", "predicted_factors"), (AGAIN, NIGHT))
    losses = Lake(str(root)).look("metrics", ("step",), run_id=AGAIN, job="train", metric="loss", slice="train")
    assert sorted(row["step"] for row in losses) == list(range(1, EPOCHS + 1))


def test_train_goes_on_over_the_examples_that_the_killed_attempt_wrote(repaired):
    train = repaired["train"]
    left, now = (Lake(str(root)).version("examples") for root in (train.left, train.root))
    assert now == left


def test_topn_killed_before_its_release_publishes_when_it_runs_again(repaired, two_nights):
    root = repaired["topn"].root
    assert releases.current(Lake(str(root))).run_of("topn") == AGAIN
    assert_equal(root, two_nights.lake, ("recommendations",), (AGAIN, NIGHT))
