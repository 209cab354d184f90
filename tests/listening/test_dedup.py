"""Test repeats, equal records and bots within a batch."""

from collections import Counter
from datetime import date, datetime, timedelta

import pytest
from judged_frames import COLUMNS
from pyspark.sql import functions as F

from etude.config import load_settings
from etude.frames import small_frame
from etude.listening.dedup import number_records, reject_bots

DAY = date(2026, 1, 31)


def judged(spark, *rows):
    """Build judged records from rows (file, record, event_id or None, reason, play_count, user, played_at)."""
    data = []
    for file, record, event, reason, count, user, at in rows:
        data.append((file, DAY, DAY, record, reason, None, event, user, "t", at, count, None, None, None))
    return small_frame(spark, data, COLUMNS)


def play(file, record, event, count=1, user="u", at=None):
    return (file, record, event, None, count, user, at)


def bad(file, record, reason="bad_count"):
    return (file, record, None, reason, None, None, None)


@pytest.fixture
def numbered(spark):
    def run(*rows, snapshot=False):
        found = number_records(judged(spark, *rows), snapshot).collect()
        return sorted((r["file"], r["record"], r["ordinal"], r["reason"] or "", r["play_count"] or 0) for r in found)

    return run


def test_the_first_record_by_file_and_hash_keeps_the_event(numbered):
    rows = [play("b", 1, "e"), play("a", 9, "e"), play("a", 9, "e"), play("a", 3, "f"), play("a", 10, "e")]
    assert numbered(*rows) == [
        ("a", 3, 0, "", 1),
        ("a", 9, 0, "", 1),
        ("a", 9, 1, "duplicate", 1),
        ("a", 10, 0, "duplicate", 1),
        ("b", 1, 0, "duplicate", 1),
    ]


def test_of_a_snapshots_counts_the_largest_is_kept(numbered):
    rows = [play("a", 1, "e", 3), play("b", 2, "e", 7), play("c", 0, "e", 7)]
    assert numbered(*rows, snapshot=True) == [
        ("a", 1, 0, "duplicate", 3),
        ("b", 2, 0, "", 7),
        ("c", 0, 0, "duplicate", 7),
    ]


def test_refused_records_are_numbered_among_their_equals_and_headers_vanish_once_a_file(numbered):
    rows = [bad("a", 1), bad("a", 1), bad("b", 1), bad("a", 5, "header"), bad("a", 5, "header"), bad("b", 5, "header")]
    assert numbered(*rows) == [
        ("a", 1, 0, "bad_count", 0),
        ("a", 1, 1, "bad_count", 0),
        ("a", 5, 1, "repeated_header", 0),
        ("b", 1, 0, "bad_count", 0),
    ]


def test_many_equal_lines_keep_their_numbers(numbered):
    rows = [bad("a", 1)] * 7 + [play("a", 2, "e")] * 4
    found = [(record, ordinal, reason) for _, record, ordinal, reason, _ in numbered(*rows)]
    assert found == [
        *((1, n, "bad_count") for n in range(7)),
        *((2, n, "duplicate" if n else "") for n in range(4)),
    ]


def test_a_record_keeps_the_batch_of_its_file_beside_the_earliest_of_its_event(spark):
    late = DAY + timedelta(days=1)
    rows = judged(spark, play("a", 1, "e", 3), play("b", 2, "e", 7))
    rows = rows.withColumn("first_batch", F.when(F.col("file") == "b", F.lit(late)).otherwise(F.col("first_batch")))
    found = number_records(rows, True).orderBy("file").select("first_batch", "earliest").collect()
    assert [tuple(row) for row in found] == [(DAY, DAY), (late, DAY)]


def test_bots_by_batch_and_by_day(spark):
    def at(day):
        return datetime(2026, 1, day, 12)

    rows = [
        *[play("a", n, f"loud{n}", user="loud", at=at(n % 5 + 1)) for n in range(10)],
        *[play("a", 100 + n, f"burst{n}", user="burst", at=at(1 if n < 4 else n)) for n in range(4, 8)],
        play("a", 200, "burst", 4, user="burst", at=at(1)),
        *[play("a", 300 + n, f"calm{n}", user="calm", at=at(n + 1)) for n in range(3)],
    ]
    frame = number_records(judged(spark, *rows), False)

    def refused(*overrides):
        settings = load_settings([], [f"listening.{each}" for each in overrides]).listening
        found = reject_bots(frame, settings).collect()
        assert len(found) == len(rows)
        return Counter(row["user_id"] for row in found if row["reason"] == "bot")

    assert refused() == {}
    assert refused("max_plays_per_user=9") == {"loud": 10}
    assert refused("max_plays_per_user_day=3") == {"burst": 1}
    assert refused("max_plays_per_user=9", "max_plays_per_user_day=3") == {"loud": 10, "burst": 1}
