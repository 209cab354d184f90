"""Run again with the same inputs, run id and batch date, a job leaves the tables as the first time."""

from __future__ import annotations

import shutil

import pytest

from lakes import FITTED, assert_equal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def again(nights, two_nights, submit_all, tmp_path_factory):
    """Run the jobs of the second night once more, in a copy of the lake that they left."""
    lake = shutil.copytree(two_nights.lake, tmp_path_factory.mktemp("again") / "lake")
    return submit_all(lake, nights.chain(lake))


@pytest.mark.parametrize(
    "tables",
    [
        ("plays", "rejects", "ingested_files", "users", "tracks", "interactions"),
        FITTED,
        ("examples", "predicted_factors"),
        ("blended_track_factors",),
        ("recommendations",),
        ("metrics",),
    ],
    ids=["ingest", "wmf", "train", "blend", "topn", "figures"],
)
def test_a_rerun_leaves_the_tables_as_they_were(two_nights, again, tables):
    assert {line["status"] for line in again.lines} == {"succeeded"}
    assert_equal(again.lake, two_nights.lake, tables)


def test_a_rerun_counts_the_same(two_nights, again):
    assert [line["rows"] for line in again.lines] == [line["rows"] for line in two_nights.lines[1:6]]
