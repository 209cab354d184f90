"""What a table says of itself: types as Spark reads them, whose data it holds, how long its rows live."""

from pyspark.sql import types as T

from etude.lake.schema import LIFETIMES
from etude.lake.tables import TABLES
from etude.stages import STAGES, publishers, writers


def test_types_are_those_that_spark_reads_from_the_text(spark):
    for table in TABLES.values():
        parsed = T.StructType.fromDDL(", ".join(f"`{column.name}` {column.type}" for column in table.columns))
        assert [field.dataType for field in table.schema] == [field.dataType for field in parsed], table.name


def test_every_table_says_whose_data_it_holds_and_how_long():
    subjects = {name: table.subject for name, table in TABLES.items()}
    assert {name for name, subject in subjects.items() if subject == "user_id"} == {"plays", "users"}
    assert {name for name, subject in subjects.items() if subject == "user_idx"} == {
        *("interactions", "splits", "user_factors", "recommendations", "repeats", "user_metrics")
    }
    assert all(table.lifetime in LIFETIMES for table in TABLES.values())
    assert all(table.has_runs for table in TABLES.values() if table.lifetime == "run")


def test_the_registry_names_known_tables_and_stages_only():
    for stage in STAGES.values():
        assert {*stage.reads, *stage.writes} <= set(TABLES), stage.name
        assert set(stage.builds_on) <= set(STAGES), stage.name
        assert set(stage.publishes) <= set(stage.writes), stage.name
    assert all(writers(table) for table in TABLES)
    assert [stage.name for stage in publishers("metrics")] == ["wmf", "train", "blend", "topn"]
    assert [stage.name for stage in publishers("splits")] == ["wmf"]
    assert publishers("plays") == publishers("user_metrics") == []
