"""Which steps a pipeline takes, and which it can leave out."""

import sys
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyspark.sql import functions as F

import etude
from etude.config import load_settings, redacted
from etude.errors import SettingsError
from etude.job import Arguments, parse_arguments
from etude.lake import Lake, releases
from etude.lake.runs import ABSENT, Run, utc_now
from etude.pipeline import Step, fingerprints, up_to_date
from etude.pipeline import steps as steps_of
from etude.pseudonym import KEY_VARIABLE
from etude.stages import STAGES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "jobs"))

DAY = date(2026, 1, 31)


def arguments(*overrides, run_id="r"):
    return Arguments(load_settings((), overrides), DAY, run_id)


def steps(*overrides, **limits):
    return [(s.stage, s.arguments.run_id, s.arguments.settings.evaluation.protocol)
            for s in steps_of(arguments(*overrides), **limits)]  # fmt: skip


def test_evaluation_comes_before_production_and_both_before_the_report():
    assert steps() == [
        ("ingest", "r", "none"), ("mel", "r", "none"),
        ("wmf", "r-eval", "strict"), ("train", "r-eval", "strict"), ("blend", "r-eval", "strict"),
        ("topn", "r-eval", "strict"),
        ("wmf", "r", "none"), ("train", "r", "none"), ("blend", "r", "none"), ("topn", "r", "none"),
        ("report", "r", "none"),
    ]  # fmt: skip


def test_an_evaluated_run_takes_the_network_of_an_evaluated_run():
    networks = {
        step.arguments.run_id: step.arguments.settings.train.network_run_id
        for step in steps_of(arguments("train.network_run_id=before"))
        if step.stage == "train"
    }
    assert networks == {"r-eval": "before-eval", "r": "before"}
    assert {step.arguments.settings.train.network_run_id for step in steps_of(arguments())} == {None}


def test_a_part_of_the_pipeline():
    assert steps("pipeline.evaluate=false", first="wmf", last="topn") == [
        ("wmf", "r", "none"), ("train", "r", "none"), ("blend", "r", "none"), ("topn", "r", "none"),
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="comes before"):
        steps_of(arguments(), "topn", "wmf")


def test_the_report_is_told_which_runs_to_show():
    report = steps_of(arguments())[-1].arguments.settings.report
    assert (report.evaluation_run_id, report.production_run_id) == ("r-eval", "r")


def test_a_part_without_topn_leaves_the_choice_of_runs_to_the_report():
    asked = ["report.production_run_id=p", "report.evaluation_run_id=e"]
    (report,) = steps_of(arguments(*asked), "report")
    assert (report.arguments.settings.report.production_run_id, report.arguments.settings.report.evaluation_run_id) == (
        "p",
        "e",
    )
    settings = steps_of(arguments(), "report")[-1].arguments.settings.report
    assert (settings.production_run_id, settings.evaluation_run_id) == (None, None)


@pytest.mark.parametrize(
    ("overrides", "protocol"),
    [
        ((), "strict"),
        (("evaluation.protocol=paper",), "paper"),
        (("evaluation.protocol=paper", "pipeline.evaluation_protocol=strict"), "strict"),
    ],
)
def test_the_evaluation_runs_under_the_protocol_that_was_asked_for(overrides, protocol):
    assert ("wmf", "r-eval", protocol) in steps(*overrides)
    assert ("wmf", "r", "none") in steps(*overrides)


def test_without_a_run_id_the_pipeline_works_under_its_batch_date():
    import pipeline

    def parsed(*argv):
        found = parse_arguments("pipeline", STAGES["pipeline"].sections, "doc", argv, pipeline.add_arguments)
        return found.run_id, found.batch_date

    today = utc_now().date()
    assert parsed() in [(day.isoformat(), day) for day in (today, utc_now().date())]
    assert parsed("--batch-date", "2026-01-31") == ("2026-01-31", DAY)
    assert parsed("--run-id", "mine", "--batch-date", "2026-01-31") == ("mine", DAY)


def test_another_key_of_user_ids_is_another_input(monkeypatch):
    def seen():
        return fingerprints("ingest", load_settings(), DAY)[KEY_VARIABLE]

    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    keys = {seen()}
    for key in ("one", "two"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        keys.add(seen())
    assert len(keys) == 3 and min(keys) >= 0


def test_a_fingerprint_sees_new_changed_and_missing_files(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    settings = load_settings((), [f"listening.path={log}"])

    def seen():
        return fingerprints("ingest", settings, DAY)["listening.path"]

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
    lake = Lake(str(tmp_path / "lake"), spark)
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
        version = lake.version("plays")

        def step(self, stage, *overrides, run_id="r", day=DAY):
            made = arguments(root, *overrides, run_id=run_id)
            return Step(stage, replace(made, batch_date=day))

        def ran(self, stage, hour, run_id="r", inputs=None, day=DAY, outside=None, **upstream):
            at = datetime(2026, 2, 1, hour, tzinfo=timezone.utc)
            settings = redacted(self.step(stage).arguments.settings)
            run = Run(run_id, stage, day, "none", at, settings=settings, ended_at=at, status="succeeded")
            run.package_version, run.inputs, run.fingerprints = etude.__version__, inputs or {}, outside or {}
            run.upstream = {job: [value] for job, value in upstream.items()}
            return run

        def write_all(self, *records):
            lake.replace("runs", [record.as_row() for record in records])

        def publish(self, run_id):
            tables = dict.fromkeys(STAGES["topn"].publishes, run_id)
            with releases.publishing(lake, "test", 60) as (_, add):
                add(tables, "test")

        def fresh(self, stage, *overrides, outside=None, **where):
            return up_to_date(self.step(stage, *overrides, **where), lake, outside or {})

        def change(self):
            lake.merge("plays", plays)

    return World()


def test_another_list_of_what_is_never_listed_is_another_input(tmp_path):
    file = tmp_path / "never.csv"
    file.write_text("track_id\na\n")
    settings = load_settings((), [f"topn.never={file}"])
    before = fingerprints("topn", settings, DAY)
    assert before.keys() == {"topn.never"}
    file.write_text("track_id\na\nb\n")
    assert fingerprints("topn", settings, DAY) != before
    assert fingerprints("topn", load_settings(), DAY) == {}


def test_a_step_is_left_out_only_while_settings_inputs_and_upstream_are_the_same(world):
    wmf = world.ran("wmf", 1, inputs={"plays": world.version})
    train, topn = world.ran("train", 2, wmf="r"), world.ran("topn", 3, wmf="r", train="r")
    alone = world.ran("train", 4, run_id="alone", wmf="r")
    world.write_all(wmf, train, topn, alone)
    world.publish("r")
    assert world.fresh("wmf")
    assert world.fresh("wmf", "topn.n=3")
    assert world.fresh("wmf", "evaluation.per_user=true")
    assert not world.fresh("topn", "evaluation.per_user=true")
    assert world.fresh("train")
    assert world.fresh("train", run_id="alone")
    assert world.fresh("topn")
    assert not world.fresh("mel")
    assert not world.fresh("wmf", run_id="never")
    assert not world.fresh("wmf", "wmf.rank=3")
    assert not world.fresh("wmf", "listening.min_plays_per_user=3")
    assert not world.fresh("train", "mel.n_fft=512")
    assert not world.fresh("wmf", day=DAY + timedelta(days=1))

    newer, untrained = world.ran("wmf", 5, run_id="newer"), world.ran("topn", 6, wmf="r")
    world.write_all(wmf, newer, train, alone, untrained)
    assert world.fresh("train")
    assert not world.fresh("train", run_id="alone"), "it would build on the newer wmf run now"
    assert not world.fresh("topn"), "a train run has come since"

    world.change()
    world.write_all(world.ran("wmf", 5, inputs={"plays": world.version}), train)
    assert not world.fresh("train"), "wmf has run again"
    assert not world.fresh("wmf"), "the plays have changed"


def test_a_blend_is_left_out_only_while_the_evaluation_that_chose_for_it_is_the_same(world):
    def evaluated(hour, run_id="e"):
        run = world.ran("blend", hour, run_id=run_id)
        run.protocol = "strict"
        return run

    fit, net = world.ran("wmf", 1), world.ran("train", 2, wmf="r")
    by_default = world.ran("blend", 4, wmf="r", train="r")
    chosen = world.ran("blend", 4, wmf="r", train="r", blend="e")
    world.write_all(fit, net, by_default)
    assert world.fresh("blend")
    world.write_all(fit, net, by_default, evaluated(3))
    assert not world.fresh("blend"), "an evaluation has come since"
    world.write_all(fit, net, chosen, evaluated(3))
    assert world.fresh("blend")
    world.write_all(fit, net, chosen, evaluated(3), evaluated(5, "newer"))
    assert world.fresh("blend"), "a rerun takes what the first run took"
    world.write_all(fit, net, chosen, evaluated(5))
    assert not world.fresh("blend"), "the evaluation has run again"


def test_lists_that_were_never_published_are_not_up_to_date(world):
    today = world.ran("topn", 3)
    world.write_all(today, world.ran("topn", 2, run_id="yesterday", day=DAY - timedelta(days=1)))
    assert not world.fresh("topn")
    world.publish("yesterday")
    assert not world.fresh("topn")
    world.publish("r")
    assert world.fresh("topn")
    assert world.fresh("topn", run_id="yesterday", day=DAY - timedelta(days=1))


def test_lists_that_were_made_again_and_not_published_since_are_not_up_to_date(world):
    world.write_all(world.ran("topn", 3))
    world.publish("r")
    assert world.fresh("topn")
    again = world.ran("topn", 3)  # killed between its success and its release
    again.started_at = again.ended_at = datetime.now(timezone.utc) + timedelta(hours=1)
    world.write_all(again)
    assert not world.fresh("topn")


def test_predictions_of_a_network_that_was_trained_again_are_not_up_to_date(world):
    def runs(hour):
        night = world.ran("train", 5, wmf="r")
        night.facts = {"network_of": "sunday"}
        return world.ran("wmf", 1), world.ran("train", hour, run_id="sunday", wmf="r"), night

    world.write_all(*runs(3))
    assert world.fresh("train")
    world.write_all(*runs(6))
    assert not world.fresh("train")
    world.write_all(runs(3)[0], runs(3)[2])
    assert not world.fresh("train")


def test_lists_that_were_rolled_back_stay_rolled_back(world):
    world.write_all(world.ran("topn", 3), world.ran("topn", 2, run_id="yesterday", day=DAY - timedelta(days=1)))
    for run_id in ("yesterday", "r", "yesterday"):
        world.publish(run_id)
    assert world.fresh("topn")


def test_a_report_is_up_to_date_until_a_run_or_a_release_comes_or_its_page_goes(world, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("")
    where = f"report.path={page}"
    lists, report = world.ran("topn", 3), world.ran("report", 4)
    report.settings["report"]["path"] = str(page)
    world.write_all(lists, report)
    assert world.fresh("report", where)
    assert not world.fresh("report", where, "report.k=7")
    world.write_all(lists, report, world.ran("pipeline", 5))
    assert world.fresh("report", where), "a pipeline writes no table itself"
    world.write_all(lists, report, world.ran("mel", 5))
    assert not world.fresh("report", where)
    world.write_all(lists, report)
    page.unlink()
    assert not world.fresh("report", where)
    page.write_text("")
    world.publish("r")
    assert not world.fresh("report", where)


def test_a_table_that_was_absent_and_is_there_now_is_a_change(world):
    world.write_all(world.ran("wmf", 1, inputs={"interactions": ABSENT}))
    assert world.fresh("wmf")
    world.write_all(world.ran("wmf", 1, inputs={"plays": ABSENT}))
    assert not world.fresh("wmf")


def test_files_outside_the_lake_count_as_inputs(world):
    world.write_all(
        world.ran("ingest", 1, outside={"listening.path": 1}),
        world.ran("ingest", 1, "p", outside={"listening.path": -1}),
    )
    assert world.fresh("ingest", outside={"listening.path": 1})
    assert not world.fresh("ingest", outside={"listening.path": 2})
    assert not world.fresh("ingest", run_id="p", outside={"listening.path": -1})
