"""New tables and writes of a few rows are the same without Spark, through deltalake, and through Spark."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date, datetime, timezone
from multiprocessing import get_context
from pathlib import Path

import pytest

from etude.frames import small_frame
from etude.lake import Lake, small
from etude.lake.runs import Run
from etude.lake.tables import TABLES

pytestmark = pytest.mark.slow

AT = datetime(2026, 2, 1, 3, 4, 5, 678901, tzinfo=timezone.utc)
LIBRARIES = ["deltalake", "Spark"]


def entry(run_id, job="wmf", **changed):
    run = Run(run_id, job, date(2026, 1, 31), "none", AT, settings={"a": "it's"}, upstream={"wmf": ["u", "v"]})
    return {**run.as_row(), "inputs": {"plays": 3}, "earlier_errors": ["first", "second"], **changed}


@pytest.fixture
def open_with(spark, tmp_path, monkeypatch):
    """Opens the lake of the test with a library."""

    def opened(name, folder="lake"):
        with monkeypatch.context() as patch:
            if name == "Spark":
                patch.setattr(small, "library", small.BySpark)
            return Lake(str(tmp_path / folder), spark)

    return opened


@pytest.fixture(params=LIBRARIES)
def either(request, open_with):
    return open_with(request.param)


def commits(lake, table):
    log = Path(lake.root.removeprefix("file://")) / table / "_delta_log"
    lines = [line for file in sorted(log.glob("*.json")) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def definition(lake, table):
    """What a new table's log says of the table, without its id and times."""
    actions = {name: value for action in commits(lake, table) for name, value in action.items()}
    metadata = {name: value for name, value in actions["metaData"].items() if name not in ("id", "createdTime", "name")}
    metadata["schemaString"] = json.loads(metadata["schemaString"])
    metadata["format"] = metadata["format"]["provider"]
    metadata["configuration"] = {name: _without_or(value) for name, value in metadata["configuration"].items()}
    return metadata | {"protocol": actions["protocol"]}


def _without_or(check):
    """`a = 'x' OR a = 'y'`, which deltalake makes of `a IN ('x', 'y')`, as the latter."""
    column, equals, values = check.partition(" = ")
    return f"{column} IN ({values.replace(f' OR {column} = ', ', ')})" if equals and " OR " in values else check


@pytest.mark.parametrize("table", list(TABLES))
def test_a_new_table_is_the_same_from_either_library(open_with, table):
    lakes = [open_with(name, folder=name) for name in LIBRARIES]
    for lake in lakes:
        lake.create(table)
    assert definition(lakes[0], table) == definition(lakes[1], table)


def test_a_process_killed_while_it_creates_a_table_leaves_none(lake, monkeypatch):
    from deltalake.table import TableAlterer

    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TableAlterer, "add_constraint", killed)
        with pytest.raises(KilledError):
            lake.create("users")
    assert not lake.exists("users")
    with pytest.raises(Exception, match="user_idx_not_negative"):
        lake.merge("users", small_frame(lake.spark, [("ann", -1)], TABLES["users"].schema))
    assert (lake.exists("users"), lake.count("users")) == (True, 0)


def test_of_several_who_create_a_table_one_does(lake):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: lake.create("users"), range(8)))
    made = [action["commitInfo"]["operation"] for action in commits(lake, "users") if "commitInfo" in action]
    assert made == ["CREATE TABLE", "ADD CONSTRAINT"]
    assert definition(lake, "users")["configuration"]["delta.constraints.user_idx_not_negative"] == "user_idx >= 0"
    assert [folder.name for folder in Path(lake.root.removeprefix("file://")).iterdir()] == ["users"]


def test_what_is_written_is_read_back_by_either(either, open_with):
    row = entry("it's \\ 1", ended_at=AT, parent="p")
    either.replace("runs", [row], job="wmf", run_id="it's \\ 1")
    for name in LIBRARIES:
        (seen,) = open_with(name).look("runs", run_id="it's \\ 1")
        assert seen == row
        assert Run.from_row(seen).upstream == {"wmf": ["u", "v"]}


def test_a_row_takes_the_place_of_its_own_and_no_others(either):
    for run_id, job in (("a", "wmf"), ("a", "mel"), ("b", "wmf")):
        either.replace("runs", [entry(run_id, job)], job=job, run_id=run_id)
    either.replace("runs", [entry("a", status="succeeded")], job="wmf", run_id="a")
    found = {(row["run_id"], row["job"]): row["status"] for row in either.read("runs").collect()}
    assert found == {("a", "wmf"): "succeeded", ("a", "mel"): "running", ("b", "wmf"): "running"}
    either.replace("runs", [entry("c")])
    assert [row["run_id"] for row in either.read("runs").collect()] == ["c"]


def test_what_the_table_forbids_is_refused(either):
    either.replace("runs", [entry("a")], job="wmf", run_id="a")
    with pytest.raises(Exception, match=r"(?i)status_known|validation|constraint"):
        either.replace("runs", [entry("b", status="odd")], job="wmf", run_id="b")
    assert [row["run_id"] for row in either.read("runs").collect()] == ["a"]


def _write(root, job, run_ids):
    for run_id in run_ids:
        Lake(root).replace("runs", [entry(run_id, job)], job=job, run_id=run_id)


def test_writers_of_both_kinds_at_once_lose_nothing(open_with):
    lake = open_with("Spark")
    lake.create("runs")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        others = [pool.submit(_write, lake.root, "wmf", [f"{n}.{i}" for i in range(15)]) for n in range(2)]
        for i in range(3):
            lake.replace("runs", [entry(f"s{i}")], job="wmf", run_id=f"s{i}")
        for other in others:
            other.result()
    assert lake.read("runs").count() == lake.read("runs").select("run_id").distinct().count() == 33
