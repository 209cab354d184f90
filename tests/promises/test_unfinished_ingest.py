"""What an ingest wrote counts when it has succeeded: until then, other jobs read what the one before left."""

from __future__ import annotations

import json
import shutil

import pytest
from killing import Job
from nights import FIRST, SECOND

from etude.lake import Lake, ledger

pytestmark = pytest.mark.slow

TABLES = ("users", "tracks", "plays", "interactions")
NIGHT = str(SECOND)


@pytest.fixture(scope="module")
def killed(nights, backwards, submit_command, tmp_path_factory) -> Job:
    """Kill a backfill when it has committed all tables but the last one, in a lake that had a succeeded ingest."""
    root = shutil.copytree(backwards.second, tmp_path_factory.mktemp("unfinished") / "lake")
    job = Job(
        *("ingest", root, nights.arguments("ingest", root, night=FIRST), str(FIRST), "ingest"),
        reached=lambda lake: False,
        too_late=lambda lake: ledger.graph(lake).succeeded("ingest", str(FIRST)) is not None,
        pause="etude.listening.batch:file_rows",
    )
    job.kill(submit_command)
    return job


@pytest.fixture(scope="module")
def after(nights, killed, submit_all):
    """Run the jobs that read ingest's tables in the lake that the kill left."""
    jobs = [[name, *nights.arguments(name, killed.root)] for name in ("wmf", "train", "blend", "topn", "report")]
    return submit_all(killed.root, jobs)


def test_the_kill_left_newer_tables(killed, backwards):
    for table in TABLES:
        left, before = (Lake(str(root)) for root in (killed.left, backwards.second))
        assert left.version(table) > before.version(table)
        assert left.count(table) > before.count(table)


def test_every_job_reads_what_the_succeeded_ingest_left(killed, backwards, after):
    before = ledger.graph(Lake(str(backwards.second))).succeeded("ingest", NIGHT)
    for line in after.lines:
        assert line["status"] == "succeeded", line["error"]
        read = {table: version for table, version in line["inputs"].items() if table in TABLES}
        assert read == {table: before.outputs[table] for table in read}
        assert read, line["job"]


def test_the_lists_and_factors_are_of_its_users_and_interactions(backwards, after):
    before = ledger.graph(Lake(str(backwards.second))).succeeded("ingest", NIGHT).row_counts
    rows = {line["job"]: line["rows"] for line in after.lines}
    assert rows["wmf"]["interactions"] == before["interactions"]
    assert rows["topn"]["users"] == before["users"]
    assert "reason='a run that has not succeeded wrote what is newer'" in after.said


def test_when_the_same_ingest_has_succeeded_its_rows_are_read(nights, killed, backwards, after, submit_all):
    jobs = [["ingest", *killed.arguments], ["wmf", *nights.arguments("wmf", killed.root)]]
    done = submit_all(after.lake, jobs)
    whole = Lake(str(backwards.both)).count("interactions")
    assert [line["status"] for line in done.lines] == ["succeeded"] * 2, json.dumps(done.lines)
    assert done.lines[1]["rows"]["interactions"] == whole
