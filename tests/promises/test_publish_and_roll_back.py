"""A succeeded topn run under `none` is published, all tables at once; releases can be promoted and rolled back."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone

import pytest
from nights import SECOND

from etude.cli.main import main
from etude.config import load_settings
from etude.errors import DataCheckError, InputMissingError
from etude.job import Arguments, execute
from etude.lake import Lake, ledger, releases
from etude.lake.runs import Run
from etude.lake.tables import TABLES
from etude.logs import job_logger
from etude.stages import STAGES

DAY = date(2026, 1, 31)
START = datetime(2026, 2, 1, tzinfo=timezone.utc)


def ran(run_id, job, hour, rows=None, protocol="none", day=DAY, **upstream):
    at = START + timedelta(hours=hour)
    run = Run(run_id, job, day, protocol, at, ended_at=at, status="succeeded", row_counts=rows or {})
    run.upstream = {name: [value] for name, value in upstream.items()}
    return run


def places(run_id, n=2):
    values = [(run_id, 0, position, f"T{position}", 1.0, "warm") for position in range(1, n + 1)]
    return [dict(zip(TABLES["recommendations"].column_names, value, strict=True)) for value in values]


@pytest.fixture
def lake(tmp_path):
    """A lake without Spark, with three lists of two rows each on one fit, and the lists of an evaluation."""
    made = Lake(str(tmp_path / "lake"))
    made.replace("recommendations", [row for run_id in ("a", "b", "c") for row in places(run_id)])
    runs = [ran("fit", "wmf", 1), ran("e", "topn", 2, protocol="strict", wmf="fit")]
    runs += [ran(run_id, "topn", 2, {"recommendations": 2}, wmf="fit") for run_id in ("a", "b", "c")]
    made.replace("runs", [run.as_row() for run in runs])
    return made


def served(lake):
    release = releases.current(lake)
    return release and release.run_of("topn")


def promote(lake, run_id):
    return releases.promote(lake, run_id, "test", 60)


def rollback(lake, release=None):
    return releases.rollback(lake, release, "test", 60)


def test_each_release_adds_a_row_that_names_all_tables_and_the_one_before(lake):
    assert (served(lake), releases.releases(lake)) == (None, [])
    promote(lake, "a")
    promote(lake, "b")
    newest, first = releases.releases(lake)
    assert (first.release, first.previous, newest.release, newest.previous) == (1, None, 2, 1)
    assert first.run_ids == {
        "recommendations": "a",
        "repeats": "a",
        "track_factors": "fit",
        "user_factors": "fit",
        "splits": "fit",
    }
    assert newest.runs() == {"wmf": "fit", "topn": "b"}
    assert newest.reason == "topn run b promoted"


def test_a_rollback_is_a_release_of_earlier_runs_and_can_be_rolled_back(lake):
    for run_id in ("a", "b", "c"):
        promote(lake, run_id)
    assert (rollback(lake).run_of("topn"), served(lake)) == ("b", "b")
    assert rollback(lake).run_of("topn") == "c", "the release before the rollback"
    assert rollback(lake, 1).run_of("topn") == "a"
    assert [each.reason for each in releases.releases(lake)][:2] == ["rollback to release 1", "rollback to release 3"]


def test_a_rollback_to_what_is_not_there_is_a_missing_input(lake):
    with pytest.raises(InputMissingError, match="no earlier release"):
        rollback(lake)
    promote(lake, "a")
    with pytest.raises(InputMissingError, match="no earlier release"):
        rollback(lake)
    with pytest.raises(InputMissingError, match="release 7"):
        rollback(lake, 7)


def test_lists_of_an_evaluation_are_refused(lake):
    with pytest.raises(DataCheckError, match=r"protocol=strict"):
        promote(lake, "e")
    with pytest.raises(InputMissingError, match="no such run"):
        promote(lake, "nobody")
    assert served(lake) is None


def test_lists_whose_fit_has_run_again_are_refused(lake):
    promote(lake, "a")
    promote(lake, "b")
    ledger.write(lake, ran("fit", "wmf", 5))
    with pytest.raises(DataCheckError, match="has run again since"):
        rollback(lake)
    assert served(lake) == "b"


def test_a_rollback_to_lists_that_were_made_anew_on_other_runs_is_refused(lake):
    promote(lake, "a")
    promote(lake, "b")
    ledger.write(lake, ran("net", "train", 3, {"predicted_factors": None, "examples": None}, wmf="fit"))
    ledger.write(lake, ran("a", "topn", 4, {"recommendations": 2}, wmf="fit", train="net"))
    with pytest.raises(DataCheckError, match="topn run a has run again since release 1, on other runs"):
        rollback(lake)
    assert served(lake) == "b"
    assert promote(lake, "a").run_of("train") == "net"


def test_lists_with_rows_missing_are_refused(lake):
    lake.replace("recommendations", places("a", 1), run_id="a")
    with pytest.raises(DataCheckError, match="has 1 rows of topn run a, which wrote 2"):
        promote(lake, "a")


def test_two_who_publish_at_once_both_get_a_release(lake):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda run_id: promote(lake, run_id), "abcabc"))
    found = releases.releases(lake)
    assert [each.release for each in found] == [6, 5, 4, 3, 2, 1]
    assert [each.previous for each in found] == [5, 4, 3, 2, 1, None]


def test_a_later_batch_keeps_its_place(lake):
    promote(lake, "a")
    graph = ledger.graph(lake)
    assert releases.served_by(releases.current(lake), graph, DAY - timedelta(days=1)) == "a"
    assert releases.served_by(releases.current(lake), graph, DAY) is None


def test_the_command_lists_promotes_and_rolls_back(lake, capsys):
    def etude(*words):
        code = main(["release", *words, "--lake", lake.root])
        return code, capsys.readouterr()

    assert "no releases" in etude("list")[1].out
    assert etude("promote", "a")[0] == etude("promote", "b")[0] == etude("rollback")[0] == 0
    code, printed = etude("list", "--json")
    assert [json.loads(line)["reason"] for line in printed.out.splitlines()] == [
        "rollback to release 1", "topn run b promoted", "topn run a promoted",
    ]  # fmt: skip
    assert "topn a" in etude("list")[1].out
    for words, expected in {("promote", "e"): 4, ("promote", "x"): 3, ("promote",): 2, ("rollback", "a"): 2}.items():
        code, printed = etude(*words)
        assert (code, len(printed.err.splitlines())) == (expected, 1), words


@pytest.fixture
def start(spark, tmp_path):
    """Execute a body as topn in a lake of its own; it publishes, as topn does under the protocol none."""

    def run(body, run_id="r", day=DAY):
        settings = load_settings((), [f"lake.root={tmp_path / 'jobs'}"])
        return execute("topn", body, spark, Arguments(settings, day, run_id, False), job_logger())

    run.lake = Lake(str(tmp_path / "jobs"), spark)
    return run


def lists(job):
    job.count("recommendations", 0)
    job.publishes = True


def fails(job):
    lists(job)
    raise DataCheckError("no")


@pytest.mark.slow
def test_a_run_publishes_itself_when_it_has_succeeded(start):
    start(lists)
    assert served(start.lake) == "r"
    start(lists, run_id="s")
    assert served(start.lake) == "s"
    assert [each.published_by for each in releases.releases(start.lake)] == ["topn s", "topn r"]


@pytest.mark.slow
def test_a_night_that_fails_leaves_the_lists_of_the_night_before(start):
    start(fails)
    assert served(start.lake) is None
    start(lists)
    assert start(fails, run_id="s").exit_code == 4
    assert served(start.lake) == "r"


@pytest.mark.slow
def test_a_backfill_does_not_replace_the_lists_of_a_later_batch(start):
    start(lists, run_id="today")
    outcome = start(lists, run_id="late", day=DAY - timedelta(days=1))
    assert (outcome.exit_code, served(start.lake), json.loads(outcome.line)["published"]) == (0, "today", "today")
    assert ledger.find(start.lake, "topn", "late").facts == {"published": "today"}
    outcome = start(lists, run_id="again")
    assert (served(start.lake), json.loads(outcome.line)["published"]) == ("again", "again")


@pytest.mark.slow
def test_the_jobs_of_a_night_publish_all_their_tables_in_one_release(two_nights):
    night = str(SECOND)
    lake = Lake(str(two_nights.lake))
    (release,) = releases.releases(lake)
    tables = [table for job in ("wmf", "train", "blend", "topn") for table in STAGES[job].publishes]
    assert release.run_ids == dict.fromkeys(tables, night)
    assert (release.published_by, two_nights.lines[5]["published"]) == (f"topn {night}", night)
    assert releases.check(lake, ledger.graph(lake), night) == release.run_ids
