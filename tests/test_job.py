"""The job contract, with small bodies in the place of stages."""

import json
import os
import socket
import time
from datetime import date, datetime

import pytest
from pyspark.sql import functions as F

from etude import storage
from etude.config import load_settings
from etude.errors import BatchHeldError, DataCheckError, InputMissingError, SettingsError
from etude.job import Arguments, execute, explain, parse_arguments, run_program
from etude.lake import Lake, Metric
from etude.lake.hold import batch_hold
from etude.lake.ledger import Ledger, RunRecord
from etude.lake.tables import RUNS
from etude.logs import job_logger

DAY = date(2026, 1, 31)


@pytest.fixture
def start(spark, tmp_path):
    """Execute a body as a job in a lake of its own."""

    def run(body, name="wmf", run_id="r", day=DAY, overrides=()):
        settings = load_settings((), [f"lake.root={tmp_path / 'lake'}", *overrides])
        return execute(name, body, spark, Arguments(settings, day, run_id, False), job_logger())

    run.lake = Lake(spark, str(tmp_path / "lake"))
    return run


def one_user(job):
    rows = job.spark.range(1).select(
        F.lit(job.run_id).alias("run_id"),
        F.col("id").cast("int").alias("user_idx"),
        F.array(F.lit(1.0).cast("float")).alias("factors"),
        F.lit("fit").alias("origin"),
    )
    job.replace("user_factors", rows)
    job.count("users", 1)
    job.metrics([Metric("blocked", "train", "loss", 2.5, step=1)])


def test_a_run_leaves_rows_metrics_a_ledger_entry_and_a_status_file(start):
    outcome = start(one_user)
    again = start(one_user)
    line = json.loads(outcome.line)
    assert (outcome.exit_code, again.exit_code) == (0, 0)
    assert (line["job"], line["run_id"], line["status"], line["rows"]) == ("wmf", "r", "succeeded", {"users": 1})
    assert start.lake.read("user_factors").count() == 1
    metric = start.lake.read("metrics").collect()
    assert [(m["run_id"], m["job"], m["protocol"], m["value"], m["k"]) for m in metric] == [
        ("r", "wmf", "none", 2.5, 0)
    ]
    (entry,) = start.lake.read("runs").collect()
    assert (entry["status"], entry["attempt"], entry["earlier_errors"]) == ("succeeded", 2, [])
    assert entry["outputs"]["user_factors"] == start.lake.version("user_factors")
    status = storage.read_bytes(storage.join(start.lake.root, "_status", "r", "wmf.json"))
    assert json.loads(status) == json.loads(again.line)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SettingsError("s"), 2), (InputMissingError("i"), 3), (DataCheckError("d"), 4), (ValueError("v"), 1)],
)
def test_every_failure_has_its_exit_status(error, code):
    assert explain(job_logger(), "wmf", error) == code


def test_a_failure_stays_in_the_ledger_until_a_later_attempt_succeeds(start):
    def fail(job):
        raise DataCheckError("counts don't balance")

    outcome = start(fail)
    assert outcome.exit_code == 4
    (entry,) = start.lake.read("runs").collect()
    assert entry["status"] == "failed"
    assert entry["error"] == json.loads(outcome.line)["error"] == "counts don't balance"
    assert start(one_user).exit_code == 0
    (entry,) = start.lake.read("runs").collect()
    assert (entry["status"], entry["attempt"]) == ("succeeded", 2)
    assert entry["earlier_errors"] == ["counts don't balance"]


def test_a_batch_is_held_by_one_run_at_a_time(start):
    inner = []

    def body(job):
        inner.append(start(one_user, run_id="other"))
        one_user(job)

    assert start(body).exit_code == 0
    assert inner[0].exit_code == 5
    assert "holds this batch" in json.loads(inner[0].line)["error"]
    assert [row["run_id"] for row in start.lake.read("runs").collect()] == ["r"]
    assert start(one_user, run_id="other").exit_code == 0


LEASE = {"run_id": "other", "host": socket.gethostname(), "pid": os.getpid()}


@pytest.mark.parametrize("holder", [{"pid": 2**22 + 1}, {"host": "elsewhere", "heartbeat": 0.0}, "not json"])
def test_the_hold_of_a_dead_run_is_taken_over(spark, tmp_path, holder):
    uri = storage.join(str(tmp_path), "lease")
    content = holder if isinstance(holder, str) else json.dumps(LEASE | {"heartbeat": time.time()} | holder)
    storage.write_bytes(uri, content.encode())
    with batch_hold(spark, uri, "mine", 600):
        assert json.loads(storage.read_bytes(uri))["run_id"] == "mine"
    assert not storage.exists(uri)


@pytest.mark.parametrize("holder", [{}, {"host": "elsewhere"}])
def test_the_hold_of_a_living_run_is_respected(spark, tmp_path, holder):
    uri = storage.join(str(tmp_path), "lease")
    storage.write_bytes(uri, json.dumps(LEASE | {"heartbeat": time.time()} | holder).encode())
    with pytest.raises(BatchHeldError, match="run other"), batch_hold(spark, uri, "mine", 600):
        pytest.fail("held twice")
    assert json.loads(storage.read_bytes(uri))["run_id"] == "other"


def test_everything_read_of_a_table_is_one_snapshot(start):
    start(one_user, run_id="a")

    def body(job):
        before = job.read("user_factors").count()
        job.lake.replace("user_factors", job.lake.read("user_factors").limit(0), run_id="a")
        assert (before, job.read("user_factors").count()) == (1, 1)

    assert start(body, name="topn").exit_code == 0


def test_upstream_prefers_the_shared_run_id_then_the_batch_then_the_one_in_force(lake, spark):
    def ran(run_id, day, protocol="none", status="succeeded", hour=0):
        at = datetime(2026, 2, 1, hour)
        record = RunRecord(run_id, "wmf", day, protocol, "{}", "0", at, ended_at=at, status=status)
        return tuple(getattr(record, name) for name in RUNS.column_names)

    rows = [
        ran("old", date(2026, 1, 1)),
        ran("strict", DAY, "strict"),
        ran("failed", DAY, status="failed", hour=3),
        ran("first", DAY, hour=1),
        ran("second", DAY, hour=2),
    ]
    lake.replace("runs", spark.createDataFrame(rows, RUNS.schema))
    ledger = Ledger(lake)
    other_day = date(2026, 1, 30)

    def upstream(run_id="x", asked=None, day=DAY, protocol="none"):
        return ledger.upstream("wmf", run_id, asked, day, protocol)

    assert upstream(asked="strict") == "strict"
    assert upstream(run_id="first") == "first"
    assert upstream() == "second"
    assert upstream(protocol="strict") == "strict"
    for missing in ({"asked": "gone"}, {"asked": "failed"}, {"day": other_day}, {"protocol": "paper"}):
        with pytest.raises(InputMissingError):
            upstream(**missing)
    ledger.make_current({"track_factors": "old"})
    assert upstream(day=other_day) == "old"
    with pytest.raises(InputMissingError):
        upstream(day=other_day, protocol="strict")


def test_only_success_moves_what_is_in_force(start):
    def fail(job):
        job.make_current({"recommendations": "r"})
        raise DataCheckError("no")

    start(fail, name="topn")
    assert Ledger(start.lake).current("recommendations") is None


@pytest.mark.parametrize(
    "argv",
    [
        ["--run-id", "a/b"],
        ["--run-id", "x" * 65],
        ["--batch-date", "31.1.2026"],
        ["wmf.rank=-1"],
        ["--config", "no.yaml"],
    ],
)
def test_mistakes_are_found_before_spark_starts(argv, monkeypatch):
    monkeypatch.setattr("etude.job.spark_session", lambda *_: pytest.fail("Spark was started"))
    outcome = run_program("wmf", one_user, ("wmf",), "doc", argv)
    assert outcome.exit_code == 2
    assert json.loads(outcome.line)["status"] == "failed"


def test_run_ids_follow_the_batch_date():
    def run_id(*argv):
        return parse_arguments("wmf", ("wmf",), "doc", argv).run_id

    assert run_id("--batch-date", "2026-01-31") == "2026-01-31"
    assert run_id("--batch-date", "2026-01-31", "--run-id", "mine") == "mine"
    assert run_id() != run_id()


def test_help_lists_the_settings_of_the_job(capsys):
    with pytest.raises(SystemExit) as left:
        parse_arguments("wmf", ("wmf",), "What it does", ["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "What it does" in shown and "wmf.rank = 100" in shown and "topn.n" not in shown
