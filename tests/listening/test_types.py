"""Test which types of Parquet and JSON a role accepts, and that Spark reads the columns in use beside any others."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etude.listening.types import fault_of, json_type, parquet_types


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["x"]), "string"),
        (pa.array(["x"], pa.large_string()), "string"),
        (pa.array(["x"]).dictionary_encode(), "string"),
        (pa.array([b"x"]), "binary"),
        (pa.array([b"x" * 4], pa.binary(4)), "binary(4)"),
        (pa.array([1], pa.int8()), "tinyint"),
        (pa.array([1], pa.uint32()), "bigint"),
        (pa.array([1], pa.uint64()), "decimal(20,0)"),
        (pa.array([1.0]), "double"),
        (pa.array([1], pa.timestamp("ns")), "bigint"),
        (pa.array([1], pa.timestamp("us", "UTC")), "timestamp"),
        (pa.array([1], pa.timestamp("ms")), "timestamp_ntz"),
        (pa.array([dt.date(2026, 1, 1)]), "date"),
        (pa.array([dt.time(1)]), "Parquet's TIME"),
        (pa.array([["x"]]), "array<string>"),
    ],
    ids=str,
)
def test_types_are_those_that_spark_reads(tmp_path, values, kind):
    pq.write_table(pa.table({"a": values}), tmp_path / "a.parquet")
    assert parquet_types(pq.ParquetFile(tmp_path / "a.parquet")) == (kind,)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, "x", None], "bigint"),
        (["x"], "string"),
        ([1.5, 1], "double"),
        ([True], "boolean"),
        ([[1], "x"], "array"),
        ([{}], "struct"),
        ([], "string"),
    ],
)
def test_json_values_have_the_type_that_says_most_against_an_id(values, kind):
    assert json_type(values) == kind


@pytest.mark.parametrize("role", ["user", "track", "event"])
def test_an_id_is_a_string_or_an_integer(role):
    good = ["string", "binary", "binary(16)", "int", "bigint", "decimal(20,0)"]
    assert not any(fault_of(role, kind) for kind in good)
    bad = ["double", "float", "array<int>", "array", "struct", "boolean", "date", "Parquet's UUID", "map<int,int>"]
    assert all(fault_of(role, kind) for kind in bad)


def test_a_time_is_not_an_array_and_a_count_may_be_a_float():
    assert fault_of("played_at", "double") is None and fault_of("played_at", "timestamp_ntz") is None
    assert fault_of("played_at", "array<int>") and fault_of("played_at", "Parquet's TIME")
    assert fault_of("play_count", "double") is None and fault_of("tags.0", "array<string>") is None
