"""The lake's writes are typed, atomic and repeatable."""

from datetime import date

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.lake.tables import TABLES, USER_FACTORS


def factors(spark, run_id, n, origin="fit"):
    return spark.range(n).select(
        F.lit(run_id).alias("run_id"),
        F.col("id").cast("int").alias("user_idx"),
        F.array(F.col("id").cast("float")).alias("factors"),
        F.lit(origin).alias("origin"),
    )


def test_a_table_that_was_never_written_reads_as_typed_and_empty(lake):
    rows = lake.read("user_factors", run_id="a")
    assert rows.count() == 0
    assert rows.schema == USER_FACTORS.schema
    assert lake.version("user_factors") is None


def test_replace_touches_only_the_rows_that_it_names(lake, spark):
    lake.replace("user_factors", factors(spark, "a", 3), run_id="a")
    lake.replace("user_factors", factors(spark, "b", 2), run_id="b")
    first = lake.version("user_factors")
    second = lake.replace("user_factors", factors(spark, "a", 1), run_id="a")
    assert second == first + 1
    assert lake.read("user_factors", run_id="a").count() == 1
    assert lake.read("user_factors", run_id="b").count() == 2
    assert lake.read("user_factors", first, run_id="a").count() == 3


def test_a_row_outside_the_replaced_range_is_refused(lake, spark):
    with pytest.raises(PySparkException):
        lake.replace("user_factors", factors(spark, "a", 1), run_id="b")
    assert lake.read("user_factors").count() == 0


def test_constraints_hold(lake, spark):
    with pytest.raises(PySparkException, match="origin_known"):
        lake.replace("user_factors", factors(spark, "a", 1, origin="guess"), run_id="a")


def test_merge_updates_and_inserts_by_key(lake, spark):
    def users(*rows):
        return small_frame(spark, list(rows), "user_id string, user_idx int")

    lake.merge("users", users(("u", 0), ("v", 1)))
    lake.merge("users", users(("v", 1), ("w", 2)))
    assert sorted(map(tuple, lake.read("users").collect())) == [("u", 0), ("v", 1), ("w", 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("origin"), "missing columns"),
        (lambda rows: rows.withColumn("more", F.lit(1)), "superfluous columns"),
        (lambda rows: rows.withColumn("user_idx", F.lit("x")), "user_idx: string doesn't fit int"),
        (lambda rows: rows.withColumn("user_idx", F.lit(1).cast("bigint")), "bigint doesn't fit int"),
    ],
)
def test_rows_of_another_shape_are_refused(lake, spark, change, message):
    with pytest.raises(DataCheckError, match=message):
        lake.replace("user_factors", change(factors(spark, "a", 1)), run_id="a")


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_created_and_explains_itself(lake, spark, table):
    lake.create(table)
    description = spark.sql(f"DESCRIBE TABLE delta.`{lake.uri(table)}`").collect()
    comments = {row["col_name"]: row["comment"] for row in description}
    for column in TABLES[table].columns:
        assert comments[column.name] == column.comment


def test_a_date_can_be_a_condition(lake, spark):
    day = date(2026, 1, 31)
    rows = small_frame(spark, [("e", "u", "t", None, 1, "log", day, day, "log.csv", 7)], TABLES["plays"].schema)
    lake.replace("plays", rows, batch_date=day)
    lake.replace("plays", rows, batch_date=day)
    assert lake.read("plays", batch_date=day).count() == 1
