"""Killed at any moment, a job leaves nothing that a reader takes for finished; the same command repairs the tables.

Each job is a real spark-submit, and each kill is SIGKILL to all of its processes: no handler and no `finally` runs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from killing import Job, runs
from nights import EPOCHS, FIRST, SECOND

from etude import storage
from etude.cli.main import main
from etude.fusion import checkpoint
from etude.lake import Lake, folders, ledger, releases
from lakes import FITTED, assert_equal

pytestmark = pytest.mark.slow

KILLED = "the process ended without recording a result (killed?)"
NIGHT, AGAIN = str(SECOND), "again"
POINTS = ("users", "plays", "wmf", "train", "topn")
"""Where jobs are killed: ingest after it wrote users, and after plays; the others at one point each."""


def ingest(root: Path, nights, written: str, not_yet: str) -> Job:
    """The first night as a backfill: rows of both nights change. It is killed when rows of one table are new."""
    lake = Lake(str(root))
    counted, version = lake.count(written), lake.version(not_yet)
    return Job(
        *("ingest", root, nights.arguments("ingest", root, night=FIRST), str(FIRST), "ingest"),
        reached=lambda lake: lake.count(written) > counted,
        too_late=lambda lake: lake.version(not_yet) != version,
    )


def of_night(job: str, root: Path, nights, **when) -> Job:
    """A job of the second night under another run id, in a lake that has both nights and their lists."""
    return Job(job, root, nights.arguments(job, root, "--run-id", AGAIN), AGAIN, f"{SECOND}.none.{job}", **when)


def last_epoch(lake: Lake) -> str:
    return checkpoint.last_uri(folders.checkpoints(lake.root, "train", AGAIN))


@pytest.fixture(scope="module")
def killed(nights, two_nights, backwards, submit_command, tmp_path_factory) -> dict[str, Job]:
    """Kill each job, in a lake of its own."""
    roots = {point: tmp_path_factory.mktemp(point) / "lake" for point in POINTS}
    for point, root in roots.items():
        shutil.copytree(backwards.second if point in ("users", "plays") else two_nights.lake, root)
    jobs = {
        "users": ingest(roots["users"], nights, "users", "plays"),
        "plays": ingest(roots["plays"], nights, "plays", "ingested_files"),
        "wmf": of_night(
            *("wmf", roots["wmf"], nights),
            reached=lambda lake: lake.count("splits", run_id=AGAIN) > 0,
            too_late=lambda lake: lake.count("track_factors", run_id=AGAIN) > 0,
        ),
        "train": of_night(
            *("train", roots["train"], nights),
            reached=lambda lake: storage.exists(last_epoch(lake)),
            too_late=lambda lake: checkpoint.read(last_epoch(lake)).epoch == EPOCHS,
            resume=("--resume",),
        ),
        # The time between success and release is too short to hit, so the job stops there.
        "topn": of_night(
            *("topn", roots["topn"], nights),
            reached=lambda lake: False,
            too_late=lambda lake: len(releases.releases(lake)) > 1,
            pause="etude.lake.releases:publishing",
        ),
    }
    for job in jobs.values():
        job.kill(submit_command)
    return jobs


@pytest.fixture(scope="module")
def repaired(killed, submit_all) -> dict[str, Job]:
    """Run each job again by the same arguments."""
    commands = [[job.name, *job.arguments, *job.resume] for job in killed.values()]
    done = submit_all(killed["users"].root, commands)
    assert {line["status"] for line in done.lines} == {"succeeded"}, done.said[-3000:]
    return killed


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


@pytest.mark.parametrize("point", ["users", "plays", "wmf", "train"])
def test_a_killed_run_does_not_count(killed, point):
    job = killed[point]
    assert (job.row(job.left).status, job.row(job.left).attempt) == ("running", 1)
    assert ledger.graph(Lake(str(job.left))).succeeded(job.name, job.run_id) is None


@pytest.mark.parametrize(
    ("point", "wrote"),
    [
        ("users", {"users"}),
        ("plays", {"users", "tracks", "rejects", "plays"}),
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


@pytest.mark.parametrize("point", ["users", "plays"])
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
