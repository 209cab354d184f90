"""Which plays of the lake a batch is compared with."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from etude.frames import small_frame
from etude.listening import near

DAY = datetime(2026, 1, 31, tzinfo=timezone.utc)
SCHEMA = "event_id string, played_at timestamp, batch_date date"


def plays(spark, *rows):
    """Rows of (event, days before DAY)."""
    return small_frame(
        spark,
        [(event, DAY - timedelta(days=days), (DAY - timedelta(days=days)).date()) for event, days in rows],
        SCHEMA,
    )


@pytest.fixture
def night(spark):
    """4,000 plays of a day, and three late ones."""
    return plays(spark, *((f"new {n}", n / 5000) for n in range(4000)), ("late", 60), ("later", 900), ("twice", 30))


@pytest.fixture
def known(spark):
    """What was played on the night's day, on others, and the late plays too."""
    return plays(spark, ("today", 0.3), ("new 7", 7 / 5000), ("yesterday", 1.5), ("a month ago", 30), ("twice", 30),
                 ("long ago", 500), ("later", 900), ("before all", 2000))  # fmt: skip


def ids(frame):
    return sorted(row["event_id"] for row in frame.collect())


def test_a_night_is_compared_with_its_day_and_late_plays_with_their_like(night, known):
    assert ids(near.near_plays(night, known)) == ["later", "new 7", "today", "twice"]
    batches = date(2026, 1, 29), date(2026, 2, 1)
    assert ids(near.near_plays(night, known, batches)) == ["later", "new 7", "today", "twice", "yesterday"]


def test_a_batch_of_many_late_plays_is_compared_with_all_their_time(night, known, monkeypatch):
    monkeypatch.setattr(near, "_MOST_LATE", 2)
    assert ids(near.near_plays(night, known)) == sorted({*ids(known)} - {"before all"})


def test_a_batch_of_years_is_compared_with_years(spark, known):
    even = plays(spark, *((f"{n}", n) for n in range(0, 1000, 10)))
    assert ids(near.near_plays(even, known)) == sorted({*ids(known)} - {"before all"})
    assert ids(near.near_plays(even.limit(0), known)) == []
