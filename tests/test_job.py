"""The job contract, with small bodies in the place of stages."""

import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

import etude
from etude import storage
from etude.cli.main import main
from etude.config import load_settings
from etude.errors import DataCheckError, InputMissingError, LeaseTakenError, SettingsError
from etude.frames import small_frame
from etude.job import Arguments, execute, explain, parse_arguments, run_program
from etude.lake import Lake, Metric, folders, ledger, views
from etude.lake.graph import RunGraph
from etude.lake.runs import ABSENT, Run, json_line, utc_now
from etude.lake.tables import TABLES
from etude.logs import job_logger
from etude.reference import stages_page, tables_page
from etude.stages import STAGES, Stage
from etude.storage import shown

pytestmark = pytest.mark.slow

DAY = date(2026, 1, 31)


@pytest.fixture
def start(spark, tmp_path):
    """Execute a body as a job in a lake of its own."""

    def run(body, name="wmf", run_id="r", day=DAY, overrides=()):
        settings = load_settings((), [f"lake.root={tmp_path / 'lake'}", *overrides])
        return execute(name, body, spark, Arguments(settings, day, run_id, False), job_logger())

    run.lake = Lake(str(tmp_path / "lake"), spark)
    return run


def one_user(job):
    rows = job.spark.range(1).select(
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
    status = storage.read_bytes(folders.status(start.lake.root, "r", "wmf"))
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


def test_a_batch_has_one_run_at_a_time(start):
    inner = []

    def body(job):
        inner.append(start(one_user, run_id="other"))
        one_user(job)

    assert start(body).exit_code == 0
    assert inner[0].exit_code == 5
    assert "has the lease" in json.loads(inner[0].line)["error"]
    assert [row["run_id"] for row in start.lake.read("runs").collect()] == ["r"]
    assert start(one_user, run_id="other").exit_code == 0


def test_a_run_id_is_at_work_on_one_batch_at_a_time(start):
    inner = []

    def body(job):
        inner.append(start(one_user, day=DAY + timedelta(days=1)))
        inner.append(start(one_user, overrides=("evaluation.protocol=strict",)))
        one_user(job)

    assert start(body).exit_code == 0
    assert [each.exit_code for each in inner] == [5, 5]
    assert f"run r is at work on batch {DAY} under protocol none" in json.loads(inner[0].line)["error"]
    (entry,) = start.lake.read("runs").collect()
    assert (entry["batch_date"], entry["status"], entry["attempt"]) == (DAY, "succeeded", 1)
    assert start(one_user, day=DAY + timedelta(days=1)).exit_code == 0


def test_if_java_dies_the_ledger_says_what_happened(start, monkeypatch):
    def dies(job):
        monkeypatch.setattr("pyspark.sql.catalog.Catalog.clearCache", lambda _: (_ for _ in ()).throw(OSError("gone")))
        raise ConnectionRefusedError("[Errno 111] Connection refused")

    assert start(dies).exit_code == 1
    monkeypatch.undo()
    (entry,) = start.lake.read("runs").collect()
    assert (entry["status"], "Connection refused" in entry["error"], entry["ended_at"] is None) == (
        "failed",
        True,
        False,
    )


def test_a_run_that_can_not_publish_has_failed(start, monkeypatch):
    def body(job):
        one_user(job)
        job.publishes = True

    def busy(job):
        raise LeaseTakenError("another run has the lease releases")

    monkeypatch.setattr("etude.job.JobRun.write_release", busy)
    outcome = start(body)
    line, (entry,) = json.loads(outcome.line), start.lake.read("runs").collect()
    assert (outcome.exit_code, line["status"], entry["status"]) == (5, "failed", "failed")
    assert line["error"] == entry["error"] == "not published: another run has the lease releases"
    assert json.loads(storage.read_bytes(folders.status(start.lake.root, "r", "wmf"))) == line


@pytest.mark.parametrize("by", ["other", "r"])
@pytest.mark.parametrize("write", ["replace", "merge", "delete", "metrics"])
def test_a_run_that_stalls_and_wakes_after_another_took_over_writes_nothing(start, write, by):
    """The other has ended and freed its lease, so none is there; it may have the same run_id."""
    lease = Path(storage.filesystem(folders.lease(start.lake.root, f"{DAY}.none.wmf"))[1])

    def state():
        return start.lake.version("user_factors"), start.lake.version("metrics"), ledger.find(start.lake, "wmf", by)

    def body(job):
        one_user(job)
        rows = job.written("user_factors")
        lease.unlink()
        assert start(one_user, run_id=by).exit_code == 0
        between.extend(state())
        if write == "replace":
            job.replace("user_factors", rows)
        elif write == "merge":
            job.merge("user_factors", rows)
        elif write == "delete":
            job.delete("user_factors", rows)

    between: list = []
    outcome = start(body)
    assert outcome.exit_code == 5
    assert "has ended, has taken over" in json.loads(outcome.line)["error"]
    assert state() == tuple(between), "tables and the other's entry are as the other left them"
    row = ledger.find(start.lake, "wmf", "r")
    assert (row.status, row.attempt) == (("failed", 1) if by == "other" else ("succeeded", 2))


def test_jobs_whose_tables_all_batches_share_run_one_at_a_time(start):
    codes = {}

    def body(job):
        inner = start(
            lambda job: None, job.stage.name, "other", DAY + timedelta(days=1), ["evaluation.protocol=strict"]
        )
        codes[job.stage.name] = inner.exit_code

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


def test_other_jobs_read_what_the_last_succeeded_ingest_left(start):
    lake, seen = start.lake, {}

    def adds(name, index):
        return lambda job: job.merge("users", small_frame(lake.spark, [(name, index)], TABLES["users"].schema))

    def stops(job):
        adds("bob", 1)(job)
        raise DataCheckError("between two tables")

    def reads(job):
        seen[job.run_id] = job.read("users").count(), job.record.inputs["users"]

    start(reads, "wmf", "before")
    start(stops, "ingest", "first")
    start(reads, "wmf", "without")
    start(adds("ann", 0), "ingest", "second")
    left = lake.version("users")
    start(stops, "ingest", "third")
    start(reads, "wmf", "with")
    start(reads, "ingest", "fourth")
    start(reads, "wmf", "after")
    newest = lake.version("users")
    assert seen["before"][0] == seen["without"][0] == 0
    assert newest > left
    assert seen["with"] == (2, left)
    assert seen["fourth"] == seen["after"] == (2, newest)


def test_a_table_that_is_absent_at_first_stays_empty_for_the_run(start):
    def body(job):
        assert job.read("user_factors").isEmpty()
        one_user(job)
        assert job.read("user_factors").isEmpty()
        assert job.written("user_factors").count() == 1

    assert start(body).exit_code == 0
    (run,) = start.lake.look("runs")
    assert run["inputs"] == {"user_factors": ABSENT}


def test_what_the_run_wrote_is_what_this_attempt_left(start):
    """A second attempt that writes nothing reads the newest version, whatever the first attempt left."""
    start(one_user)
    start(one_user, run_id="other")

    def body(job):
        assert job.read("user_factors").count() == job.written("user_factors").count() == 2

    assert start(body).exit_code == 0


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda job: job.replace("plays", job.lake.read("plays")), "writes"),
        (lambda job: job.merge("plays", job.lake.read("plays")), "writes"),
        (lambda job: job.delete("plays", job.lake.read("plays")), "writes"),
        (lambda job: job.read("predicted_factors"), "reads"),
        (lambda job: job.upstream("train"), "builds_on"),
    ],
)
def test_what_a_stage_does_not_declare_is_refused(start, use, what):
    outcome = start(use)
    assert outcome.exit_code == 1
    assert f"is not among `{what}` of its entry in etude/stages.py" in json.loads(outcome.line)["error"]


def test_a_new_job_is_one_entry_and_one_body(start, monkeypatch, capsys):
    """It gets its settings, its lease, its lineage, its views and its place in the documents from the entry."""
    entry = Stage(
        "similar", "lists tracks like a track", ("lake", "spark", "wmf"), reads=("track_factors",),
        writes=("user_factors", "metrics"), builds_on=("wmf",), lease="lake",
    )  # fmt: skip
    monkeypatch.setitem(STAGES, entry.name, entry)
    start(one_user, run_id="fit")

    def body(job):
        job.upstream("wmf")
        one_user(job)
        job.note("engine", "none")

    outcome = start(body, name="similar", run_id="s", overrides=["inputs.wmf_run_id=fit"])
    line = json.loads(outcome.line)
    assert (outcome.exit_code, line["upstream"], line["engine"]) == (0, {"wmf": ["fit"]}, "none")
    graph = ledger.graph(start.lake)
    assert [run.key for run in graph.sources(graph.run("similar", "s"))] == [("wmf", "fit")]
    assert views.query(start.lake.spark, start.lake.root, "SELECT * FROM user_factors_current").isEmpty()
    assert "| `similar` |" in stages_page() and "wmf, similar" in tables_page()
    with pytest.raises(SystemExit):
        run_program("similar", body, "What it does", ["--help"])
    assert "wmf.rank = 100" in capsys.readouterr().out
    assert main(["runs", "--lake", start.lake.root]) == main(["show", "s", "--lake", start.lake.root]) == 0
    assert 'engine "none"' in capsys.readouterr().out


def test_a_second_writer_of_a_served_table_breaks_no_view(start, monkeypatch):
    monkeypatch.setitem(
        STAGES, "edge", Stage("edge", "ranks", ("lake",), writes=("recommendations",), publishes=("recommendations",))
    )
    assert views.query(start.lake.spark, start.lake.root, "SELECT * FROM recommendations_current").isEmpty()
    assert views.query(start.lake.spark, start.lake.root, "SELECT * FROM runs_current").isEmpty()


def test_what_a_job_notes_and_its_parent_reach_the_table(start):
    def body(job):
        job.note("engine", "blocked")
        job.note("rejected", {"duplicate": 2})

    settings = load_settings((), [f"lake.root={start.lake.root}"])
    arguments = Arguments(settings, DAY, "r", False)
    execute("wmf", body, start.lake.spark, arguments, job_logger(), {"listening.path": 7}, parent="search")
    run = ledger.find(start.lake, "wmf", "r")
    assert run.facts == {"engine": "blocked", "rejected": {"duplicate": 2}}
    assert (run.parent, run.fingerprints, run.inputs) == ("search", {"listening.path": 7}, {})


def test_after_a_rerun_the_version_read_still_leads_to_the_run_that_wrote_it(start):
    """Its row in the ledger holds only what the last attempt wrote."""
    lake = start.lake

    def writes(job):
        job.merge("users", small_frame(lake.spark, [("ann", 0)], TABLES["users"].schema))

    assert start(writes, "ingest", "night").exit_code == 0
    lake.spark.conf.unset("spark.databricks.delta.commitInfo.userMetadata")
    lake.spark.sql(f"ALTER TABLE delta.`{lake.uri('users')}` SET TBLPROPERTIES ('etude.note' = 'by hand')")
    read = lake.version("users")
    assert {commit[1:] for commit in lake.commits("users", read)} == {("ingest", "night")}
    night, day = (
        Run(run_id, "ingest", DAY, "none", utc_now(), status="succeeded", outputs={"users": version})
        for run_id, version in (("night", read + 1), ("day", 0))
    )
    graph = RunGraph([night, day], lake.commits)
    assert graph.sources(Run("w", "wmf", DAY, "none", utc_now(), inputs={"users": read})) == [night]


def test_while_a_job_runs_the_status_file_says_so_and_not_how_an_earlier_attempt_ended(start):
    status = folders.status(start.lake.root, "r", "wmf")
    assert start(one_user).exit_code == 0
    seen = []
    start(lambda job: seen.append(json.loads(storage.read_bytes(status))))
    assert [(line["status"], line["run_id"]) for line in seen] == [("running", "r")]


def test_a_rerun_leaves_no_figures_of_an_earlier_attempt(start):
    start(one_user)
    start(lambda job: None)
    assert start.lake.read("metrics").count() == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["--run-id", "a/b"],
        ["--run-id", "x" * 65],
        ["--run-id", ".."],
        ["--run-id", "_runs"],
        ["--run-id", ""],
        ["--batch-date", "20260131"],
        ["--batch-date", "2026-W05-6"],
        ["--batch-date", "2026-02-30"],
        ["--batch-date", ""],
        ["lake.root="],
        ["lake.root=s3a:/bucket/lake"],
        ["--batch-date", "31.1.2026"],
        ["wmf.rank=-1"],
        ["--config", "no.yaml"],
        ["--nonsense"],
        ["--run-id"],
        ["--resume"],
    ],
)
def test_mistakes_are_found_before_spark_starts(argv, monkeypatch):
    monkeypatch.setattr("etude.job.spark_session", lambda *_: pytest.fail("Spark was started"))
    outcome = run_program("wmf", one_user, "doc", argv)
    assert outcome.exit_code == 2
    line = json.loads(outcome.line)
    assert (line["job"], line["status"], line["run_id"], line["rows"]) == ("wmf", "failed", None, None)


def test_a_lake_that_is_a_file_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.setattr("etude.job.spark_session", lambda *_: pytest.fail("Spark was started"))
    (tmp_path / "lake").write_text("")
    outcome = run_program("wmf", one_user, "doc", [f"lake.root={tmp_path / 'lake'}"])
    assert outcome.exit_code == 2
    assert "expected a folder" in json.loads(outcome.line)["error"]


@pytest.mark.parametrize("name", ["a [b]", "a^b", "a|b", "a\\b", "a%20b", "x]"])
def test_a_lake_path_that_deltalake_cannot_take_is_a_mistake(tmp_path, monkeypatch, name):
    monkeypatch.setattr("etude.job.spark_session", lambda *_: pytest.fail("Spark was started"))
    monkeypatch.chdir(tmp_path)
    for root in (name, f"{name}/lake", str(tmp_path / name)):
        outcome = run_program("wmf", one_user, "doc", [f"lake.root={root}"])
        assert outcome.exit_code == 2 and "choose another folder" in json.loads(outcome.line)["error"]
        assert main(["tables", "--lake", root]) == 2
    assert not list(tmp_path.iterdir())


def test_a_panic_of_a_library_ends_in_the_json_line_too(start, monkeypatch):
    class Panic(BaseException):
        pass

    def panic(*_):
        raise Panic("the library gave up")

    monkeypatch.setattr("etude.job.spark_session", panic)
    outcome = run_program("wmf", one_user, "doc", ["--run-id", "r"])
    assert outcome.exit_code == 1 and "the library gave up" in json.loads(outcome.line)["error"]


@pytest.mark.parametrize(
    ("environment", "argument", "refused"),
    [
        ({"LC_ALL": "C"}, "listening.path=ü.csv", True),
        ({"LC_ALL": "C"}, "lake.root=lake_??", True),
        ({"LC_ALL": "C"}, "listening.path=plays?.csv", False),
        ({"PYSPARK_GATEWAY_PORT": "1"}, "listening.columns.user=??", True),
        ({}, "listening.path=ü.csv", False),  # Python hands UTF-8 on to the Java that it starts
        ({"LC_ALL": "C.UTF-8"}, "listening.path=ü.csv", False),
        ({"LC_ALL": "C.UTF-8"}, "listening.path=a??.csv", False),
    ],
)
def test_names_that_java_loses_in_the_c_locale_are_a_mistake(environment, argument, refused):
    program = (
        "import sys; from etude.arguments import parse_arguments; from etude.stages import stage_of\n"
        "try: parse_arguments('ingest', stage_of('ingest').sections, '', sys.argv[1:])\n"
        "except Exception as error: print(ascii(error))"
    )
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(etude.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program, argument], env=kept | environment, capture_output=True, text=True, check=True
    )
    assert ("set LC_ALL=C.UTF-8" in done.stdout) == refused and (refused or done.stdout == "")


def test_the_line_has_the_same_keys_however_a_job_ends(start, monkeypatch):
    def fail(job):
        raise InputMissingError("s3a://key:secret@bucket/log: no such file")

    def no_spark(*_):
        raise RuntimeError("Java is gone")

    monkeypatch.setattr("etude.job.spark_session", no_spark)
    early = [run_program("wmf", one_user, "doc", argv) for argv in (["--run-id", "r"], ["--what"])]
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


def nothing(job):
    pass


@pytest.mark.parametrize("text", ['no "https://host/x?sig=abc"', "s3a://me:secret@b/'c?key=1'", 'a\\"?token=1"'])
def test_the_line_is_json_whatever_is_masked_in_it(text):
    line = json.loads(json_line(1.0, {"error": text, "nested": {"of": [text]}}))
    assert line["error"] == line["nested"]["of"][0] == shown(text) != text
    run = Run("r", "wmf", DAY, "none", utc_now(), facts={"note": text})
    assert Run.from_row(run.as_row()).facts == {"note": shown(text)}


def test_one_job_starts_other_runs_under_a_run_id(start):
    assert start(nothing, name="pipeline", run_id="one").exit_code == 0
    assert start(nothing, name="pipeline", run_id="one").exit_code == 0
    refused = start(nothing, name="tune", run_id="one")
    assert refused.exit_code == 2
    assert "--run-id one: the lake has a run of pipeline of that id" in json.loads(refused.line)["error"]
    assert start(nothing, name="tune", run_id="two").exit_code == 0


def test_lists_whose_fit_runs_again_meanwhile_are_not_published(start):
    assert start(nothing, run_id="fit").exit_code == 0

    def slow(job):
        job.upstream("wmf")
        job.publishes = True
        again = ledger.find(job.lake, "wmf", "fit")
        again.status, again.ended_at = "running", None
        ledger.write(job.lake, again)

    lists = start(slow, name="topn", run_id="lists")
    assert lists.exit_code == 4
    assert "rests on has run again since" in json.loads(lists.line)["error"]
    assert not start.lake.exists("releases")
