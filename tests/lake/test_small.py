"""New tables and writes of a few rows are the same without Spark, through deltalake, and through Spark."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import date, datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exception

import pytest
from deltalake import DeltaTable

from etude.errors import DataCheckError
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
                patch.setattr(small, "library", lambda root, spark, _: small.BySpark(root, spark))
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


def test_a_list_stands_for_any_of_its_values_and_an_empty_one_for_none(either):
    either.replace("runs", [entry(run_id) for run_id in ("a", "b", "c")])
    for wanted in (["a", "c"], ("b",), []):
        assert sorted(row["run_id"] for row in either.look("runs", run_id=wanted)) == list(wanted)
        assert either.count("runs", run_id=wanted) == len(wanted)
        assert either.read("runs", run_id=wanted).count() == len(wanted)


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


WRITER = "job=wmf run_id=r"
OF_TYPE = {
    "string": "it's \\ 1",
    "int": 1,
    "bigint": 1 << 40,
    "double": 0.1,
    "date": AT.date(),
    "timestamp": AT,
    "map<string,string>": {"a": "b"},
}


@pytest.fixture
def frames_with(spark, tmp_path):
    """Opens a lake in which frames are written with a library."""

    def opened(name):
        lake = Lake(str(tmp_path / name), spark, WRITER)
        return lake, lake.collecting() if name == "deltalake" else nullcontext()

    spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", WRITER)
    yield opened
    spark.conf.unset("spark.databricks.delta.commitInfo.userMetadata")


def written_by(lake, table):
    """The library that made the last commit."""
    (said,) = [action["commitInfo"] for action in commits(lake, table) if "commitInfo" in action][-1:]
    return "Spark" if "Spark" in said.get("engineInfo", "") else "deltalake"


# Together they have columns of every type, partitions, and constraints.
@pytest.mark.parametrize("table", ["plays", "tracks", "ingested_files", "track_factors", "splits", "user_metrics"])
def test_a_frame_is_written_the_same_by_either_library(spark, small_lake, frames_with, table):
    rows = Lake(str(small_lake), spark).read(table)
    if table in ("ingested_files", "user_metrics"):  # the small lake has no rows of them
        rows = small_frame(spark, [[OF_TYPE[column.type] for column in TABLES[table].columns]], TABLES[table].schema)
    assert not rows.isEmpty()
    seen = {}
    for name in LIBRARIES:
        lake, collecting = frames_with(name)
        with collecting:
            version = lake.replace(table, rows)
        assert written_by(lake, table) == name
        assert next(lake.commits(table, version)) == (version, "wmf", "r")
        frame = lake.read(table)
        seen[name] = frame.schema, sorted(map(str, frame.collect()))
    assert seen["deltalake"] == seen["Spark"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_frame_takes_the_place_of_rows_that_fulfil_the_conditions_and_no_others(spark, frames_with, name):
    def rows(*ids):
        values = [("ingest", source, "f:1", None, "empty", None, AT.date()) for source in ids]
        return small_frame(spark, values, TABLES["rejects"].schema)

    lake, collecting = frames_with(name)
    with collecting:
        lake.replace("rejects", rows("it's", "b", "c"))
        lake.replace("rejects", rows("it's"), source=["it's", "b"], batch_date=AT.date())
        assert sorted(row["source"] for row in lake.look("rejects")) == ["c", "it's"]
        with pytest.raises(Exception, match=r"rejects: nothing was written|DELTA_REPLACE_WHERE_MISMATCH"):
            lake.replace("rejects", rows("other"), source=["c"])
    assert sorted(row["source"] for row in lake.look("rejects")) == ["c", "it's"]
    assert written_by(lake, "rejects") == name


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_frame_that_breaks_a_constraint_leaves_the_table_as_it_is(spark, frames_with, name):
    lake, collecting = frames_with(name)
    who = f"user {AT:%f}"
    with collecting, pytest.raises(Exception, match="user_idx_not_negative") as error:
        lake.replace("users", small_frame(spark, [("ann", 0), (who, -1)], TABLES["users"].schema))
    assert who not in "".join(format_exception(error.value))
    assert lake.count("users") == 0


def test_a_frame_of_many_rows_and_a_table_read_as_files_are_left_to_spark(spark, small_lake, frames_with, monkeypatch):
    source = Lake(str(small_lake), spark)
    lake, _ = frames_with("deltalake")
    monkeypatch.setattr(small, "MOST_ROWS", 5)
    example = ["r", "train", 0, 0, [0.5], 1, 0, 0, [0], [0.5], [0.5]]
    with lake.collecting():
        lake.replace("users", source.read("users"))
        lake.replace("examples", small_frame(spark, [example], TABLES["examples"].schema))
    assert (written_by(lake, "users"), written_by(lake, "examples")) == ("Spark", "Spark")
    assert lake.count("users") == source.count("users") == 6
    with lake.collecting():
        lake.replace("users", source.read("users").limit(5))
    assert (written_by(lake, "users"), lake.count("users")) == ("deltalake", 5)


def test_what_deltalake_rewrote_is_told_from_a_broken_lake(spark, open_with):
    lake = open_with("deltalake")
    lake.replace("users", [{"user_id": name, "user_idx": n} for n, name in enumerate(("ann", "bob", "cy"))])
    DeltaTable(lake.uri("users")).delete("user_id = 'bob'")
    for look in (lambda: lake.look("users"), lambda: lake.has_values("users", ["user_id"])):
        with pytest.raises(
            DataCheckError, match="users: files have column types of a newer Arrow, as deltalake's delete"
        ):
            look()
    place = f"delta.`{lake.uri('users')}`"
    spark.sql(f"INSERT OVERWRITE {place} SELECT * FROM {place}")  # the remedy
    assert [row["user_id"] for row in lake.look("users")] == ["ann", "cy"]
