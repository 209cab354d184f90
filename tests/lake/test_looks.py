"""Looks give the same without Spark, through deltalake, and through Spark."""

from datetime import date, datetime, timezone

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from etude.config import Settings
from etude.errors import DataCheckError, InputMissingError
from etude.frames import small_frame
from etude.lake import Lake, small
from etude.lake.lake import open_lake, require_lake
from etude.lake.tables import TABLES
from etude.storage import to_uri
from small_lake import fill


@pytest.fixture(params=["deltalake", "Spark"])
def lake(request, small_lake, monkeypatch):
    if request.param == "deltalake":
        return Lake(str(small_lake))
    monkeypatch.setattr(small, "library", lambda root, spark, _: small.BySpark(root, spark))
    return Lake(str(small_lake), request.getfixturevalue("spark"))


def test_rows_counts_and_versions(lake):
    assert lake.look("users", user_id="bob") == [{"user_id": "bob", "user_idx": 1}]
    (run,) = lake.look("runs", ("run_id", "batch_date", "outputs", "upstream", "error"), job="topn", run_id="prod")
    assert run == {
        "run_id": "prod",
        "batch_date": date(2026, 1, 31),
        "outputs": {"recommendations": 2, "metrics": 1},
        "upstream": {"wmf": ["prod"], "train": ["prod"]},
        "error": None,
    }
    (release,) = lake.look("releases", ("since", "previous"))
    assert release == {"since": datetime(2026, 1, 31, 3, tzinfo=timezone.utc), "previous": None}
    found = {row["track_id"] for row in lake.look("tracks", ("track_id",), track_id=["T01", "T02", "no"])}
    assert found == {"T01", "T02"}
    assert (lake.count("recommendations"), lake.version("recommendations")) == (48, 2)
    assert lake.count("recommendations", run_id="prod") == 24
    assert lake.count("recommendations", run_id=["prod", "none"], user_idx=1) == 4


@pytest.mark.parametrize(
    ("filled", "has_tags", "has_year"),
    [
        ({}, False, False),
        ({"tags": []}, False, False),
        ({"tags": ["sad"]}, True, False),
        ({"release_year": 9}, False, True),
    ],
)
def test_columns_of_which_some_row_has_a_value(small_lake, tmp_path, lake, filled, has_tags, has_year):
    other = type(lake)(str(tmp_path / "other"), lake.session)
    fill(other, "tracks", [("T0", 0, None, None), ("T1", 1, filled.get("tags"), filled.get("release_year"))],
         ("track_id", "track_idx", "tags", "release_year"))  # fmt: skip
    assert other.has_values("tracks", ["tags"]) == has_tags
    assert other.has_values("tracks", ["release_year"]) == has_year
    assert other.has_values("tracks", ["audio_uri", "release_year", "tags"]) == (has_tags or has_year)


def test_a_table_never_written_has_nothing(lake):
    assert (lake.look("examples"), lake.count("examples"), lake.version("examples")) == ([], 0, None)
    assert lake.arrow("examples", ("track_idx",)).num_rows == 0
    assert not lake.has_values("examples", ["mel"])


def test_a_run_id_that_looks_like_a_number_stays_text(tmp_path):
    lake = Lake(str(tmp_path))
    lake.replace("user_factors", [{"run_id": "20260131", "user_idx": 0, "factors": [1.0], "origin": "fit"}])
    found = lake.look("user_factors", run_id="20260131")
    assert [row["run_id"] for row in found] == ["20260131"]


def test_all_columns_are_those_of_the_table(small_lake):
    (row, *_) = Lake(str(small_lake)).look("plays")
    assert tuple(row) == TABLES["plays"].column_names


def test_a_command_without_a_lake_fails_and_makes_nothing(tmp_path):
    root = tmp_path / "nowhere"
    with pytest.raises(InputMissingError, match="no lake at file://"):
        require_lake(to_uri(str(root)))
    settings = Settings.model_validate({"lake": {"root": str(root)}})
    with pytest.raises(InputMissingError), open_lake(settings):
        pass
    assert not root.exists()


def test_a_frame_needs_a_session(small_lake):
    with pytest.raises(RuntimeError, match="without a Spark session"):
        Lake(str(small_lake)).read("users")


def test_reserved_characters_in_the_lakes_path(tmp_path, spark, monkeypatch):
    folder = tmp_path / "a b#ü"
    lake = Lake(str(folder), spark)
    rows = small_frame(spark, [("ann", 0)], TABLES["users"].schema)
    lake.merge("users", rows)
    lake.replace("users", rows)
    assert (folder / "users" / "_delta_log").is_dir()
    assert lake.look("users") == [{"user_id": "ann", "user_idx": 0}]
    monkeypatch.setattr(small, "library", lambda root, spark, _: small.BySpark(root, spark))
    through_spark = Lake(str(folder), spark)
    assert through_spark.look("users") == lake.look("users")
    assert through_spark.count("users") == 1
    for each in (through_spark, lake):
        assert each.arrow("users", ("user_idx",), user_id="ann").to_pylist() == [{"user_idx": 0}]


@pytest.mark.parametrize("way", ["look", "read"])
def test_a_table_that_an_earlier_version_made_is_told_as_such(spark, tmp_path, way):
    write_deltalake(str(tmp_path / "users"), pa.table({"user_id": ["ann"]}))
    with pytest.raises(DataCheckError, match=r"users: the lake's table has no column user_idx; .* make a new lake"):
        getattr(Lake(str(tmp_path), spark), way)("users")
