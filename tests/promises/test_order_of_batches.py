"""Batches may come in any order: a night that is ingested late leaves the tables that it would have left in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from etude.lake import Lake

pytestmark = pytest.mark.slow

TABLES = ("plays", "rejects", "tracks", "users", "interactions")


def by_ids(root: Path) -> dict[str, list[str]]:
    """Return the tables' rows with ids in the place of indices, whose numbers depend on the order of the batches."""
    lake = Lake(str(root))
    rows = {table: lake.look(table) for table in TABLES}
    users = {row["user_idx"]: row["user_id"] for row in rows["users"]}
    tracks = {row["track_idx"]: row["track_id"] for row in rows["tracks"]}
    for row in rows["interactions"]:
        row["user_idx"], row["track_idx"] = users[row["user_idx"]], tracks[row["track_idx"]]
    for row in (*rows["users"], *rows["tracks"]):
        row.pop("user_idx", None), row.pop("track_idx", None)
    return {table: sorted(str(sorted(row.items())) for row in found) for table, found in rows.items()}


@pytest.fixture(scope="module")
def in_order(two_nights):
    return by_ids(two_nights.lake)


@pytest.fixture(scope="module")
def in_reverse(backwards):
    return by_ids(backwards.both)


@pytest.mark.parametrize("table", TABLES)
def test_a_backfill_leaves_the_rows_of_nights_in_order(in_order, in_reverse, table):
    assert in_order[table]
    assert in_reverse[table] == in_order[table]


def test_an_index_once_given_never_changes(backwards):
    alone, both = Lake(str(backwards.second)), Lake(str(backwards.both))
    for table in ("users", "tracks"):
        key, index = f"{table[:-1]}_id", f"{table[:-1]}_idx"
        first, then = ({row[key]: row[index] for row in lake.look(table)} for lake in (alone, both))
        assert then.items() > first.items(), table
        assert sorted(then.values()) == list(range(len(then))), table
