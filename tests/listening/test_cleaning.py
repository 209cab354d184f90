"""Test the parsing of counts and times, and the judgement of each record."""

from datetime import date, datetime, timezone

import pytest
from pyspark.sql import functions as F

from etude.config import load_settings
from etude.errors import SettingsError
from etude.frames import small_frame
from etude.listening.cleaning import check_time_pattern, clean, parse_count, parse_time
from etude.listening.columns import LOG_ROLES
from etude.listening.identity import Pads, with_pads
from etude.pseudonym import pseudonym

TAKEN = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def parsed(spark, parse, texts):
    rows = small_frame(spark, [(text,) for text in texts], "text string")
    return dict(rows.select("text", parse(F.col("text"))).collect())


def test_counts(spark):
    cases = {
        "3": 3, " 4 ": 4, "3.0": 3, "1e3": 1000, "+5": 5, "0": 0, "-1": -1, "0.0": 0,
        "9" * 20: 2**62, "-1e30": -(2**62),
        "2.5": None, "": None, "x": None, "NaN": None, "0x10": None, "1_000": None, "3 4": None, None: None,
    }  # fmt: skip
    found = parsed(spark, parse_count, cases)
    assert {text: None if value is None else int(value) for text, value in found.items()} == cases


def test_times(spark):
    base = datetime(2009, 5, 4, 23, 8, 57)
    good = {
        "2009-05-04T23:08:57Z": base, "2009-05-04 23:08:57": base, "2009-05-05T01:08:57+02:00": base,
        "2009-05-04T23:08:57.500Z": base.replace(microsecond=500000), "2009-05-04": datetime(2009, 5, 4),
        "1241478537": base, "1241478537.5": base.replace(microsecond=500000), "1241478537000": base,
        "1241478537000000": base, "1241478537000000000": base, " 2009-05-04T23:08:57Z ": base,
    }  # fmt: skip
    bad = [
        "2009",
        "20090504",
        "12:30:00",
        "now",
        "today",
        "2009-13-01",
        "2009-02-30",
        "2009-05-04T25:00:00Z",
        "x",
        "",
        "-1",
    ]
    found = parsed(spark, lambda text: F.unix_micros(parse_time(text)), [*good, *bad])
    micros = {t: int(at.replace(tzinfo=timezone.utc).timestamp() * 10**6) for t, at in good.items()}
    assert found == {**micros, **dict.fromkeys(bad)}


def test_times_by_a_pattern(spark):
    found = parsed(
        spark, lambda text: F.unix_seconds(parse_time(text, "dd/MM/yyyy HH:mm")), ["04/05/2009 23:08", "2009-05-04"]
    )
    assert found == {"04/05/2009 23:08": 1241478480, "2009-05-04": None}


def test_what_is_no_pattern_of_times_is_a_wrong_setting(spark):
    check_time_pattern(spark, "dd/MM/yyyy HH:mm")
    for pattern in ("dd/MM/yyyy hello", "YYYY-MM-dd"):
        with pytest.raises(SettingsError, match=r"listening\.timestamp_format="):
            check_time_pattern(spark, pattern)


ORDER = ("user", "track", "play_count", "played_at", "artist", "artist_id", "title", "event")


def records(spark, *rows):
    """Build records as `read_records` returns them; a row is a dict of roles, with an optional fault."""
    assert set(ORDER) == set(LOG_ROLES)
    day = date(2026, 1, 31)
    data = [
        ("f@0", "f", day, day, TAKEN, n, row.get("fault"), f"shown {n}", *(row.get(role) for role in ORDER), None)
        for n, row in enumerate(rows)
    ]
    roles = ", ".join(f"{role} string" for role in ORDER)
    return small_frame(
        spark,
        data,
        "uri string, file string, first_batch date, last_batch date, taken_at timestamp, record bigint, fault string, "
        f"shown string, {roles}, played_at_typed timestamp",
    )


def verdicts(spark, rows, *overrides, roles=("user", "track", "play_count", "played_at", "artist", "title")):
    settings = load_settings([], [f"listening.{each}" for each in overrides]).listening
    judged = clean(records(spark, *rows), settings, frozenset(roles), keyed=False)
    return judged.orderBy("record").collect()


def test_every_reason(spark):
    good = {"user": "u", "track": "t", "play_count": "2", "played_at": "2026-01-30T10:00:00Z"}
    cases = [
        (None, {}),
        ("encoding", {"fault": "encoding"}),
        ("wrong_columns", {"fault": "wrong_columns", "user": None}),
        ("empty_user", {"user": " \u00a0"}),
        ("empty_user", {"user": None}),
        ("empty_track", {"track": ""}),
        ("empty_track", {"track": None, "title": "only a title"}),
        (None, {"track": None, "title": "a title", "artist": "an artist"}),
        ("bad_count", {"play_count": "many"}),
        ("bad_count", {"play_count": None}),
        ("negative_count", {"play_count": "-3"}),
        ("zero_count", {"play_count": "0"}),
        ("absurd_count", {"play_count": "1001"}),
        ("absurd_count", {"play_count": "1e30"}),
        (None, {"play_count": "1000"}),
        ("bad_timestamp", {"played_at": "yesterday"}),
        ("bad_timestamp", {"played_at": None}),
        ("future_timestamp", {"played_at": "2026-02-01T12:00:01Z"}),
        (None, {"played_at": "2026-02-01T12:00:00Z"}),
        ("absurd_id", {"user": "u" * 1025}),
    ]
    found = verdicts(spark, [{**good, **change} for _, change in cases], "max_play_count=1000")
    assert [row["reason"] for row in found] == [reason for reason, _ in cases]
    for row in found:
        if row["reason"] is None:
            assert row["raw"] is None and len(row["event_id"]) == 32 and row["play_count"] >= 1
        else:
            assert row["raw"] == f"shown {row['record']}" and row["event_id"] is None and row["play_count"] is None


def test_without_a_column_of_counts_a_row_is_one_play_and_without_times_there_are_none(spark):
    rows = [{"user": "u", "track": "t"}, {"user": " u ", "track": "t"}, {"user": "u", "track": "T"}]
    found = verdicts(spark, rows, roles=("user", "track"))
    assert [(row["reason"], row["play_count"], row["played_at"]) for row in found] == [(None, 1, None)] * 3
    assert found[0]["event_id"] == found[1]["event_id"] != found[2]["event_id"]
    assert [row["user_id"] for row in found] == ["u", "u", "u"]


def test_tracks_without_an_id_are_named_by_artist_and_title(spark):
    at = "2026-01-30T10:00:00Z"
    rows = [
        {"user": "u", "played_at": at, "artist": "Björk", "title": "Jóga"},
        {"user": "u", "played_at": at, "artist": " BJÖRK", "title": "jóga!"},
        {"user": "u", "played_at": at, "artist": "Björk", "title": "Hunter"},
        {"user": "u", "played_at": at, "artist": "Björk", "title": "Jóga", "track": "id"},
    ]
    first, same, other, own = (row["track_id"] for row in verdicts(spark, rows, roles=("played_at", "artist", "title")))
    assert first == same != other
    assert first.startswith("name:") and own == "id"


def test_under_a_key_users_are_pseudonyms(spark):
    settings = load_settings().listening
    rows = with_pads(records(spark, {"user": " u1 ", "track": "t"}, {"user": "", "track": "t"}), Pads.of(b"secret"))
    found = clean(rows, settings, frozenset(("user", "track")), keyed=True).orderBy("record").collect()
    assert [(row["user_id"], row["reason"]) for row in found] == [
        (pseudonym("u1", b"secret"), None),
        (None, "empty_user"),
    ]
