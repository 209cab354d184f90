"""Tables come about, and a few rows at hand get into them, the same way past Spark and through it."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date, datetime, timezone
from multiprocessing import get_context
from pathlib import Path

import pytest

from etude.frames import small_frame
from etude.lake import Lake, small
from etude.lake.glance import ArrowGlance, SparkGlance, glance_of
from etude.lake.ledger import RunRecord
from etude.lake.tables import TABLES

pytestmark = pytest.mark.slow

AT = datetime(2026, 2, 1, 3, 4, 5, 678901, tzinfo=timezone.utc)


def entry(run_id, job="wmf", **changed):
    record = RunRecord(run_id, job, date(2026, 1, 31), "none", '{"a": "it\'s"}', "0", AT)
    return {**record.as_entry(), "inputs": {"plays": 3}, "earlier_errors": ["first", "second"], **changed}


@pytest.fixture(params=["past Spark", "through Spark"])
def put(request, spark, tmp_path, monkeypatch):
    if request.param == "through Spark":
        monkeypatch.setattr(small, "serves", lambda root: False)
    return Lake(spark, str(tmp_path / "lake"))


def log_of(lake, table):
    return Path(lake.root.removeprefix("file://")) / table / "_delta_log"


def without_identity(metadata):
    """Metadata but for the table's id and time."""
    rest = {name: value for name, value in metadata.items() if name not in ("id", "createdTime")}
    return rest | {"schemaString": json.loads(metadata["schemaString"])}


def first_commit(lake, table):
    """What a new table's log says of it, but for its id and time."""
    lines = (log_of(lake, table) / f"{0:020}.json").read_text().splitlines()
    actions = {name: value for line in lines for name, value in json.loads(line).items()}
    return without_identity(actions["metaData"]) | {"protocol": actions["protocol"]}


def first_checksum(lake, table):
    """The checksum of a new table's log, but for the table's id and time."""
    found = json.loads((log_of(lake, table) / f"{0:020}.crc").read_text())
    return found | {"metadata": without_identity(found["metadata"])}


@pytest.fixture
def with_checksums(spark):
    """Spark writes checksums, as it does outside the tests."""
    before = spark.conf.get("spark.databricks.delta.writeChecksumFile.enabled")
    spark.conf.set("spark.databricks.delta.writeChecksumFile.enabled", "true")
    yield
    spark.conf.set("spark.databricks.delta.writeChecksumFile.enabled", before)


@pytest.mark.usefixtures("with_checksums")
@pytest.mark.parametrize("table", ["plays", "tracks", "rejects", "runs"])
def test_a_new_table_is_the_same_whoever_makes_it(spark, tmp_path, monkeypatch, table):
    past, through = (Lake(spark, str(tmp_path / name)) for name in ("past", "through"))
    past.create(table)
    monkeypatch.setattr(small, "serves", lambda root: False)
    through.create(table)
    assert first_commit(past, table) == first_commit(through, table)
    ours, theirs = first_checksum(past, table), first_checksum(through, table)
    assert ours == {name: theirs[name] for name in ours}


@pytest.mark.usefixtures("with_checksums")
def test_spark_carries_the_checksum_on(lake):
    lake.create("users")
    lake.merge("users", small_frame(lake.spark, [("ann", 0)], TABLES["users"].schema))
    assert json.loads((log_of(lake, "users") / f"{1:020}.crc").read_text())["numFiles"] == 1


def test_of_several_who_create_a_table_one_does(lake):
    uri = f"{lake.root}/users"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: small.create_table(uri, TABLES["users"]), range(8)))
    before = first_commit(lake, "users")
    small.create_table(uri, TABLES["tracks"])
    assert first_commit(lake, "users") == before
    assert {file.name for file in log_of(lake, "users").iterdir()} == {f"{0:020}.json", f"{0:020}.crc"}
    assert first_checksum(lake, "users")["metadata"]["description"] == before["description"]


def test_the_ledger_looks_the_way_it_writes(put):
    assert isinstance(glance_of(put), ArrowGlance if small.serves(put.root) else SparkGlance)


def test_a_row_comes_back_whole_by_either_look(put):
    row = entry("it's \\ 1", status="failed", error="why", ended_at=AT, upstream={"ingest": "i"})
    assert put.put("runs", [row], job="wmf", run_id="it's \\ 1") == 1
    (seen,) = ArrowGlance(put.root).rows("runs", run_id="it's \\ 1")
    assert seen == row
    (by_spark,) = SparkGlance(put.spark, put.root).rows("runs", run_id="it's \\ 1")
    assert {**by_spark, "started_at": AT, "ended_at": AT} == row


def test_a_row_takes_the_place_of_its_own_and_no_others(put):
    for run_id, job in (("a", "wmf"), ("a", "mel"), ("b", "wmf")):
        put.put("runs", [entry(run_id, job)], job=job, run_id=run_id)
    put.put("runs", [entry("a", status="succeeded")], job="wmf", run_id="a")
    found = {(row["run_id"], row["job"]): row["status"] for row in put.read("runs").collect()}
    assert found == {("a", "wmf"): "succeeded", ("a", "mel"): "running", ("b", "wmf"): "running"}
    put.put("runs", [entry("c")])
    assert [row["run_id"] for row in put.read("runs").collect()] == ["c"]


def test_what_the_table_forbids_is_refused(put):
    put.put("runs", [entry("a")], job="wmf", run_id="a")
    with pytest.raises(Exception, match=r"(?i)status_known|validation|constraint"):
        put.put("runs", [entry("b", status="odd")], job="wmf", run_id="b")
    assert [row["run_id"] for row in put.read("runs").collect()] == ["a"]


def _write(uri, job, run_ids):
    for run_id in run_ids:
        small.replace_rows(uri, [entry(run_id, job)], {"job": job, "run_id": run_id})


def test_writers_of_both_kinds_at_once_lose_nothing(spark, tmp_path, monkeypatch):
    lake = Lake(spark, str(tmp_path / "lake"))
    lake.create("runs")
    uri = f"{lake.root}/runs"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        others = [pool.submit(_write, uri, "wmf", [f"{n}.{i}" for i in range(15)]) for n in range(2)]
        monkeypatch.setattr(small, "serves", lambda root: False)
        for i in range(3):
            lake.put("runs", [entry(f"s{i}")], job="wmf", run_id=f"s{i}")
        for other in others:
            other.result()
    assert lake.read("runs").count() == lake.read("runs").select("run_id").distinct().count() == 33
