"""What an ingest wrote counts when it has succeeded: until then, other jobs read what the one before left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nights import SECOND

from etude.lake import Lake, ledger

pytestmark = pytest.mark.slow

TABLES = ("users", "tracks", "plays", "interactions")
NIGHT = str(SECOND)
READERS = ("wmf", "train", "blend", "topn", "report")


@pytest.fixture(scope="module")
def unfinished(killed, tmp_path_factory) -> Path:
    """A lake in which a backfill was killed when it had committed all tables but the last one."""
    return shutil.copytree(killed["files"].left, tmp_path_factory.mktemp("unfinished") / "lake")


@pytest.fixture(scope="module")
def after(nights, unfinished, repaired, submit_all, tmp_path_factory):
    """Run jobs that read ingest's tables in that lake, and one in the lake in which the same ingest has succeeded."""
    finished = shutil.copytree(repaired["files"].root, tmp_path_factory.mktemp("finished") / "lake")
    jobs = [[name, *nights.arguments(name, unfinished)] for name in READERS]
    return submit_all(unfinished, [*jobs, ["wmf", *nights.arguments("wmf", finished)]])


def test_the_kill_left_newer_tables(killed, backwards):
    for table in TABLES:
        left, before = (Lake(str(root)) for root in (killed["files"].left, backwards.second))
        assert left.version(table) > before.version(table)
        assert left.count(table) > before.count(table)


def test_jobs_read_what_the_succeeded_ingest_left(backwards, after):
    before = ledger.graph(Lake(str(backwards.second))).succeeded("ingest", NIGHT)
    for line in after.lines[: len(READERS)]:
        assert line["status"] == "succeeded", line["error"]
        read = {table: version for table, version in line["inputs"].items() if table in TABLES}
        assert read == {table: before.outputs[table] for table in read}
        assert read, line["job"]


def test_the_lists_and_factors_are_of_its_users_and_interactions(backwards, after):
    before = ledger.graph(Lake(str(backwards.second))).succeeded("ingest", NIGHT).row_counts
    rows = {line["job"]: line["rows"] for line in after.lines[: len(READERS)]}
    assert rows["wmf"]["interactions"] == before["interactions"]
    assert rows["topn"]["users"] == before["users"]
    assert "reason='a run that has not succeeded wrote what is newer'" in after.said


def test_when_the_same_ingest_has_succeeded_its_rows_are_read(backwards, after):
    line = after.lines[-1]
    assert (line["status"], line["rows"]["interactions"]) == (
        "succeeded",
        Lake(str(backwards.both)).count("interactions"),
    )
