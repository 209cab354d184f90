"""The job contract, with small bodies in the place of stages."""

import json
from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from etude import storage
from etude.config import load_settings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.job import Arguments, execute, explain, parse_arguments, run_program
from etude.lake import Lake, Metric
from etude.lake.ledger import Ledger
from etude.logs import job_logger

pytestmark = pytest.mark.slow

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


def test_jobs_whose_tables_all_batches_share_run_one_at_a_time(start):
    codes = {}

    def body(job):
        inner = start(lambda job: None, job.name, "other", DAY + timedelta(days=1), ["evaluation.protocol=strict"])
        codes[job.name] = inner.exit_code

    for name in ("ingest", "wmf"):
        start(body, name=name)
    assert codes == {"ingest": 5, "wmf": 0}


def test_everything_read_of_a_table_is_one_snapshot(start):
    start(one_user, run_id="a")

    def body(job):
        before = job.read("user_factors").count()
        job.lake.replace("user_factors", job.lake.read("user_factors").limit(0), run_id="a")
        assert (before, job.read("user_factors").count()) == (1, 1)

    assert start(body, name="topn").exit_code == 0


def test_a_run_that_is_killed_does_not_leave_the_success_of_an_earlier_attempt_in_the_status_file(start):
    status = storage.join(start.lake.root, "_status", "r", "wmf.json")
    assert start(one_user).exit_code == 0
    seen = []
    start(lambda job: seen.append(json.loads(storage.read_bytes(status))))
    assert [(line["status"], line["run_id"]) for line in seen] == [("running", "r")]


def test_a_rerun_leaves_no_figures_of_an_earlier_attempt(start):
    start(one_user)
    start(lambda job: None)
    assert start.lake.read("metrics").count() == 0


def test_only_success_moves_what_is_in_force_and_moves_all_of_it(start):
    def in_force():
        return {row["table"]: row["run_id"] for row in start.lake.read("current").collect()}

    def fail(job):
        job.make_current({"recommendations": "r"})
        raise DataCheckError("no")

    start(fail, name="topn")
    assert in_force() == {}
    start(lambda job: job.make_current({"recommendations": "r", "predicted_factors": "t"}), name="topn")
    assert in_force() == {"recommendations": "r", "predicted_factors": "t"}
    start(lambda job: job.make_current({"recommendations": "s"}), name="topn", run_id="s")
    assert in_force() == {"recommendations": "s"}


def test_a_backfill_does_not_take_the_lists_of_a_later_batch_back(start):
    def body(job):
        job.make_current({"recommendations": job.run_id})

    def in_force():
        return Ledger(start.lake).current("recommendations")

    start(body, name="topn", run_id="today")
    outcome = start(body, name="topn", run_id="late", day=DAY - timedelta(days=1))
    assert (outcome.exit_code, in_force(), json.loads(outcome.line)["in_force"]) == (0, "today", "today")
    outcome = start(body, name="topn", run_id="again")
    assert (in_force(), json.loads(outcome.line)["in_force"]) == ("again", "again")


@pytest.mark.parametrize(
    "argv",
    [
        ["--run-id", "a/b"],
        ["--run-id", "x" * 65],
        ["--batch-date", "31.1.2026"],
        ["wmf.rank=-1"],
        ["--config", "no.yaml"],
        ["--nonsense"],
        ["--run-id"],
    ],
)
def test_mistakes_are_found_before_spark_starts(argv, monkeypatch):
    monkeypatch.setattr("etude.job.spark_session", lambda *_: pytest.fail("Spark was started"))
    outcome = run_program("wmf", one_user, ("wmf",), "doc", argv)
    assert outcome.exit_code == 2
    line = json.loads(outcome.line)
    assert (line["job"], line["status"], line["run_id"], line["rows"]) == ("wmf", "failed", None, None)


def test_the_line_has_the_same_keys_however_a_job_ends(start, monkeypatch):
    def fail(job):
        raise InputMissingError("s3a://key:secret@bucket/log: no such file")

    def no_spark(*_):
        raise RuntimeError("Java is gone")

    monkeypatch.setattr("etude.job.spark_session", no_spark)
    early = [run_program("wmf", one_user, ("wmf",), "doc", argv) for argv in (["--run-id", "r"], ["--what"])]
    lines = [json.loads(outcome.line) for outcome in (*early, start(fail), start(one_user))]
    assert all(set(line) == set(lines[0]) for line in lines)
    assert [line["run_id"] for line in lines] == ["r", None, "r", "r"]
    assert lines[2]["error"] == "s3a://***@bucket/log: no such file"
    assert start.lake.read("runs").first()["earlier_errors"] == [lines[2]["error"]]


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
