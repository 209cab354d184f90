"""The lake as a schema: names, the served run, and nothing lost by registering."""

import pytest
from pyspark.sql import functions as F

from etude.frames import small_frame
from etude.lake import Lake, views
from etude.lake.tables import TABLES
from small_lake import SERVED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(spark, small_lake) -> Lake:
    """The small lake with all names registered; `prod` is served there, `eval` isn't."""
    lake = Lake(str(small_lake), spark)
    views.register(spark, lake.root)
    return lake


def test_a_view_holds_the_served_run_with_names(served):
    rows = views.query(
        served.spark,
        served.root,
        "SELECT * FROM recommendations_current WHERE user_idx = 1 ORDER BY position",
    )
    assert rows.columns == [
        "run_id", "user_idx", "user_id", "position", "track_id", "title", "artist_name", "score", "source"
    ]  # fmt: skip
    assert [tuple(row)[:7] for row in rows.collect()] == [
        ("prod", 1, "bob", 1, "T02", "Study no. 2", "Cleo"),
        ("prod", 1, "bob", 2, "T10", "Study no. 10", "Bea"),
        ("prod", 1, "bob", 3, "T04", "Study no. 4", "Bea"),
        ("prod", 1, "bob", 4, "T05", "Study no. 5", "Cleo"),
    ]


def test_served_figures_and_runs_are_those_of_each_jobs_served_run(served):
    for view in ("metrics_current", "runs_current"):
        found = served.spark.sql(f"SELECT DISTINCT job, run_id FROM etude.{view}").collect()
        assert {row["run_id"] for row in found} == {"prod"}
        assert {row["job"] for row in found} == (
            {"wmf", "train"} if view == "metrics_current" else {"wmf", "train", "topn"}
        )


def test_current_is_the_newest_release_and_latest_an_older_name_of_what_is_served(served):
    rows = views.query(served.spark, served.root, "SELECT * FROM current").collect()
    assert {row["table"]: (row["run_id"], row["release"]) for row in rows} == dict.fromkeys(SERVED, ("prod", 1))
    latest, current = (
        views.query(served.spark, served.root, f"SELECT * FROM recommendations_{name}")
        for name in ("latest", "current")
    )
    assert latest.columns == current.columns
    assert latest.exceptAll(current).isEmpty() and current.exceptAll(latest).isEmpty()


def test_every_name_answers_and_explains_itself(served):
    names = {row["tableName"] for row in served.spark.sql("SHOW TABLES IN etude").collect()}
    assert names == set(views.view_names())
    assert served.spark.sql("SELECT count(*) FROM etude.recommendations").first()[0] == 48
    comments = served.spark.sql("DESCRIBE etude.recommendations_current")
    comment = comments.where(F.col("col_name") == "user_id").first()["comment"]
    assert comment == TABLES["users"].columns[0].comment


def test_a_view_reads_only_the_partition_of_the_served_run(served):
    plan = served.spark.sql("SELECT score FROM etude.recommendations_current")._jdf.queryExecution().toString()
    assert "PartitionFilters: [isnotnull(run_id" in plan or "PartitionFilters: [(run_id" in plan


def test_tables_never_written_are_there_without_rows(served):
    rows = views.query(served.spark, served.root, "SELECT * FROM examples")
    assert rows.count() == 0
    assert rows.columns == list(TABLES["examples"].column_names)


def test_another_lake_takes_the_names_over_and_the_first_keeps_its_rows(served, tmp_path):
    count = "SELECT count(*) FROM etude.users"
    other = Lake(str(tmp_path / "other"), served.spark)
    assert views.query(served.spark, other.root, count).first()[0] == 0
    other.merge("users", small_frame(served.spark, [("zoe", 0)], TABLES["users"].schema))
    assert views.query(served.spark, other.root, "SELECT user_id FROM users").first()[0] == "zoe"
    assert views.query(served.spark, served.root, count).first()[0] == 6
    views.register(served.spark, served.root)


def test_show_knows_every_name(served, monkeypatch):
    asked = []
    monkeypatch.setattr(views, "register", lambda spark, root, names: asked.append(names))
    for text in ("SHOW TABLES", " show columns in users", "SELECT 1 AS show"):
        views.query(served.spark, served.root, text)
    assert asked == [None, None, set()]


def test_a_query_registers_only_what_it_mentions(served):
    assert views.mentioned("SELECT * FROM etude.plays JOIN Recommendations_Current") == {
        "plays",
        "recommendations_current",
    }
    before = served.spark.catalog.currentDatabase()
    views.query(served.spark, served.root, "SELECT 1")
    assert served.spark.catalog.currentDatabase() == before
