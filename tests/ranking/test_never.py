"""A list of what is never listed is read from CSV or Parquet, and resolved to the lake's indices."""

from __future__ import annotations

import logging

import pytest

from etude.errors import DataCheckError, InputMissingError
from etude.frames import small_frame
from etude.ranking.never import read_never

pytestmark = pytest.mark.slow

LOG = logging.getLogger("etude.test_never")


@pytest.fixture(scope="module")
def known(spark):
    users = small_frame(spark, [("ann", 0), ("bob", 1)], "user_id string, user_idx int")
    tracks = [("s", 3, None), ("t", 5, None), ("old t", 4, "t")]
    return users, small_frame(spark, tracks, "track_id string, track_idx int, alias_of string")


def found(never):
    return (
        sorted(row["track_idx"] for row in never.tracks.collect()),
        sorted((row["user_idx"], row["track_idx"]) for row in never.pairs.collect()),
    )


def test_rows_without_a_user_are_for_all(known, tmp_path, caplog):
    file = tmp_path / "never.csv"
    file.write_text("track_id,user_id\ns,\n s ,\nold t, bob\nt,bob\ns,nobody\nx,ann\nx,\n")
    with caplog.at_level(logging.INFO, LOG.name):
        assert found(read_never(str(file), *known, LOG)) == ([3], [(1, 5)])
    assert "rows=6 of_unknown_ids=3" in caplog.text
    assert not {"ann", "bob", "nobody"} & set(caplog.text.split())  # ids of users never reach a log


def test_tracks_alone_are_for_all(known, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_text("track_id\ns\n")
    (tmp_path / "lists" / "b.csv").write_text("track_id\nold t\n")
    assert found(read_never(str(tmp_path / "lists"), *known, LOG)) == ([3, 5], [])


def test_parquet(spark, known, tmp_path):
    rows = small_frame(spark, [("s", "ann"), ("t", None)], "track_id string, user_id string")
    rows.write.parquet(str(tmp_path / "never.parquet"))
    assert found(read_never(str(tmp_path / "never.parquet"), *known, LOG)) == ([5], [(0, 3)])


@pytest.mark.parametrize("head", ["track", "track_id,artist_id", "user_id"])
def test_other_columns_are_refused(known, tmp_path, head):
    file = tmp_path / "never.csv"
    file.write_text(f"{head}\ns{',x' * head.count(',')}\n")
    with pytest.raises(DataCheckError, match=rf"columns {head.replace(',', ', ')}; expected track_id, or track_id and"):
        read_never(str(file), *known, LOG)


def test_a_missing_file_is_named(known, tmp_path):
    with pytest.raises(InputMissingError, match=r"topn\.never=.*nowhere\.csv"):
        read_never(str(tmp_path / "nowhere.csv"), *known, LOG)


def test_ids_in_quotes_are_read_as_other_programs_write_them(spark, tmp_path):
    """As pandas and Excel do: quotes are doubled, and a backslash is one."""
    users = small_frame(spark, [("ann", 0)], "user_id string, user_idx int")
    odd = [('a "live" take', 0, None), ("x,y\\", 1, None)]
    tracks = small_frame(spark, odd, "track_id string, track_idx int, alias_of string")
    file = tmp_path / "never.csv"
    file.write_text('track_id,user_id\n"a ""live"" take",\n"x,y\\",ann\n')
    assert found(read_never(str(file), users, tracks, LOG)) == ([0], [(0, 1)])
