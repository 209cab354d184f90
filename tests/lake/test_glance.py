"""Looks without Spark and looks through Spark see the same."""

from datetime import date

import pytest

from etude.config import Settings
from etude.errors import InputMissingError
from etude.frames import small_frame
from etude.lake.glance import ArrowGlance, SparkGlance, open_lake, require_lake
from etude.lake.tables import TABLES
from etude.storage import to_uri


@pytest.fixture(params=["arrow", "spark"])
def glance(request, small_lake):
    root = to_uri(str(small_lake))
    return ArrowGlance(root) if request.param == "arrow" else SparkGlance(request.getfixturevalue("spark"), root)


def test_rows_counts_and_versions(glance):
    assert glance.rows("users", user_id="bob") == [{"user_id": "bob", "user_idx": 1}]
    (run,) = glance.rows("runs", ("run_id", "batch_date", "outputs", "error"), job="topn", run_id="prod")
    assert run == {
        "run_id": "prod",
        "batch_date": date(2026, 1, 31),
        "outputs": {"recommendations": 0, "metrics": 0},
        "error": None,
    }
    assert {row["track_id"] for row in glance.rows("tracks", ("track_id",), track_id=["T01", "T02", "no"])} == {
        "T01",
        "T02",
    }
    assert (glance.count("recommendations"), glance.version("recommendations")) == (48, 0)
    assert glance.count("recommendations", run_id="prod") == 24
    assert glance.count("recommendations", run_id=["prod", "none"], user_idx=1) == 4


def test_a_table_never_written_has_nothing(glance):
    assert (glance.rows("examples"), glance.version("examples")) == ([], None)


def test_a_run_id_that_looks_like_a_number_stays_text(tmp_path):
    import pyarrow as pa
    from deltalake import write_deltalake

    rows = [{"run_id": "20260131", "user_idx": 0, "factors": [1.0], "origin": "fit"}]
    write_deltalake(str(tmp_path / "user_factors"), pa.Table.from_pylist(rows), partition_by=["run_id"])
    found = ArrowGlance(to_uri(str(tmp_path))).rows("user_factors", run_id="20260131")
    assert [row["run_id"] for row in found] == ["20260131"]


def test_all_columns_are_those_of_the_table(small_lake):
    (row, *_) = ArrowGlance(to_uri(str(small_lake))).rows("plays")
    assert tuple(row) == TABLES["plays"].column_names


def test_where_there_is_no_lake_nothing_is_made(tmp_path):
    root = tmp_path / "nowhere"
    with pytest.raises(InputMissingError, match="no lake at file://"):
        require_lake(to_uri(str(root)))
    settings = Settings.model_validate({"lake": {"root": str(root)}})
    with pytest.raises(InputMissingError), open_lake(settings):
        pass
    assert not root.exists()


def test_a_lake_whose_path_holds_reserved_characters(tmp_path, spark):
    import pyarrow as pa
    from deltalake import write_deltalake

    folder = tmp_path / "a b#ü"
    rows = [{"run_id": "r", "user_idx": 0, "factors": [1.0], "origin": "fit"}]
    write_deltalake(str(folder / "user_factors"), pa.Table.from_pylist(rows), partition_by=["run_id"])
    root = to_uri(str(folder))
    for glance in (ArrowGlance(root), SparkGlance(spark, root)):
        assert glance.rows("user_factors", ("run_id", "user_idx")) == [{"run_id": "r", "user_idx": 0}]
        assert (glance.count("user_factors"), glance.version("user_factors")) == (1, 0)


def test_a_lake_whose_path_holds_reserved_characters_is_written_where_it_is_read(tmp_path, spark):
    from etude.lake import Lake

    lake = Lake(spark, str(tmp_path / "a b#ü"))
    rows = small_frame(spark, [("ann", 0)], TABLES["users"].schema)
    lake.merge("users", rows)
    lake.replace("users", rows)
    assert lake.version("users") == 2
    assert (tmp_path / "a b#ü" / "users" / "_delta_log").is_dir()
    assert ArrowGlance(lake.root).rows("users") == [{"user_id": "ann", "user_idx": 0}]
