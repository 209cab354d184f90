"""A job finds out that its input is small, and gets a session for it that leaves what others set."""

from datetime import date

import pytest

from etude.config import load_settings
from etude.lake import Lake
from etude.small_session import INTERPRETED, is_small, small_session
from etude.stages import STAGES

DAY = date(2026, 1, 31)
MB = b"x" * 2**20


@pytest.fixture
def small(tmp_path):
    """Tells if a stage's input is small, given a limit of 2 MB and other settings."""

    def tell(stage, *overrides):
        settings = load_settings((), ["spark.small_input_mb=2", *overrides])
        return is_small(STAGES[stage], settings, DAY, Lake(str(tmp_path / "lake")))

    return tell


def test_the_log_counts_for_ingest_only(small, tmp_path):
    log = tmp_path / "2026-01-31.csv"
    named = f"listening.path={tmp_path}/{{batch_date}}.csv"
    log.write_bytes(MB)
    assert small("ingest", named)
    log.write_bytes(3 * MB)
    assert not small("ingest", named)
    assert small("topn", named)


def test_catalogues_and_all_files_of_a_folder_count(small, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/1.csv", "a/2.csv", "c.csv"):
        (tmp_path / name).write_bytes(MB)
    assert small("ingest", f"listening.path={tmp_path}/a/1.csv")
    catalogue = f"catalogue.sources=[{{path: {tmp_path}/c.csv, format: delimited}}]"
    assert not small("ingest", f"listening.path={tmp_path}/a", catalogue)


def test_tables_that_the_stage_reads_count(small, tmp_path):
    folder = tmp_path / "lake" / "user_factors" / "run_id=a"
    folder.mkdir(parents=True)
    (folder / "part.parquet").write_bytes(3 * MB)
    assert not small("topn")
    assert small("mel")


def test_a_pattern_whose_size_is_unknown_is_not_small(small, tmp_path):
    (tmp_path / "a.csv").write_bytes(MB)
    assert not small("ingest", f"listening.path={tmp_path}/*.csv")


def test_nothing_is_small_if_it_is_turned_off(small):
    assert not small("topn", "spark.small_input_mb=0")


def test_the_session_is_as_before_after_the_body_and_keeps_what_was_set(spark, tmp_path):
    names = [*INTERPRETED, "spark.sql.shuffle.partitions", "spark.databricks.delta.snapshotPartitions"]
    given = spark.sparkContext.getConf()
    before = {name: spark.conf.get(name) for name in names}
    try:
        spark.conf.set("spark.databricks.delta.snapshotPartitions", "4")
        with pytest.raises(ZeroDivisionError), small_session(Lake(str(tmp_path), spark), load_settings()):
            assert spark.conf.get("spark.databricks.delta.snapshotPartitions") == "1"
            assert given.contains("spark.sql.shuffle.partitions")
            assert spark.conf.get("spark.sql.shuffle.partitions") == before["spark.sql.shuffle.partitions"]
            raise ZeroDivisionError
        assert spark.conf.get("spark.databricks.delta.snapshotPartitions") == "4"
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
