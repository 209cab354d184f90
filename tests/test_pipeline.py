"""Which steps a pipeline takes, and which it can leave out."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from etude.config import load_settings
from etude.errors import SettingsError
from etude.job import Arguments, execute
from etude.lake import Lake
from etude.lake.ledger import Ledger
from etude.logs import job_logger
from etude.pipeline import Step, fingerprint, plan, up_to_date

DAY = date(2026, 1, 31)


def arguments(*overrides, run_id="r"):
    return Arguments(load_settings((), overrides), DAY, run_id)


def steps(*overrides, **limits):
    return [(s.stage, s.arguments.run_id, s.arguments.settings.evaluation.protocol)
            for s in plan(arguments(*overrides), **limits)]  # fmt: skip


def test_evaluation_comes_before_production_and_both_before_the_report():
    assert steps() == [
        ("ingest", "r", "none"), ("mel", "r", "none"),
        ("wmf", "r-eval", "strict"), ("train", "r-eval", "strict"), ("topn", "r-eval", "strict"),
        ("wmf", "r", "none"), ("train", "r", "none"), ("topn", "r", "none"),
        ("report", "r", "none"),
    ]  # fmt: skip


def test_a_part_of_the_pipeline():
    assert steps("pipeline.evaluate=false", first="wmf", last="topn") == [
        ("wmf", "r", "none"), ("train", "r", "none"), ("topn", "r", "none"),
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="comes before"):
        plan(arguments(), "topn", "wmf")


def test_the_report_is_told_which_runs_to_show():
    report = plan(arguments())[-1].arguments.settings.report
    assert (report.evaluation_run_id, report.production_run_id) == ("r-eval", "r")


def test_a_fingerprint_sees_new_changed_and_missing_files(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    settings = load_settings((), [f"listening.path={log}"])

    def seen():
        return fingerprint("ingest", settings, DAY)["listening.path"]

    assert seen() == -1
    (log / "a.csv").write_text("1")
    first = seen()
    assert first == seen() >= 0
    (log / "a.csv").write_text("12")
    second = seen()
    (log / "b.csv").write_text("1")
    assert len({first, second, seen()}) == 3


@pytest.fixture
def world(spark, tmp_path):
    """A lake with plays, and a stage that reads them, as the pipeline would run it."""
    root = f"lake.root={tmp_path / 'lake'}"
    lake = Lake(spark, str(tmp_path / "lake"))
    columns = {"event_id": "e", "user_id": "u", "track_id": "t", "source": "s", "file": "f"}
    plays = spark.range(1).select(
        *(F.lit(value).alias(name) for name, value in columns.items()),
        F.lit(None).cast("timestamp").alias("played_at"),
        F.lit(1).cast("bigint").alias("play_count"),
        F.lit(1).cast("bigint").alias("record"),
        *(F.lit(DAY).alias(name) for name in ("batch_date", "counted_on")),
    )
    lake.merge("plays", plays)

    class World:
        def step(self, stage, *overrides):
            return Step(stage, arguments(root, *overrides))

        def run(self, stage, body, *overrides, outside=None):
            step = self.step(stage, *overrides)
            assert execute(stage, body, spark, step.arguments, job_logger(), outside).exit_code == 0

        def fresh(self, stage, *overrides, outside=None):
            return up_to_date(self.step(stage, *overrides), Ledger(lake), outside or {})

        def change(self):
            lake.merge("plays", plays)

    return World()


@pytest.mark.slow
def test_a_step_is_left_out_only_while_settings_inputs_and_upstream_are_the_same(world):
    def wmf(job):
        job.read("plays").count()

    def train(job):
        job.upstream("wmf")

    assert not world.fresh("wmf")
    world.run("wmf", wmf)
    world.run("train", train)
    assert world.fresh("wmf")
    assert world.fresh("wmf", "topn.n=3")
    assert not world.fresh("wmf", "wmf.rank=3")
    assert world.fresh("train")
    world.run("wmf", wmf)
    assert not world.fresh("train")
    world.change()
    assert not world.fresh("wmf")


@pytest.mark.slow
def test_files_outside_the_lake_count_as_inputs(world):
    world.run("ingest", lambda job: None, outside={"listening.path": 1})
    assert world.fresh("ingest", outside={"listening.path": 1})
    assert not world.fresh("ingest", outside={"listening.path": 2})
    world.run("ingest", lambda job: None, outside={"listening.path": -1})
    assert not world.fresh("ingest", outside={"listening.path": -1})
