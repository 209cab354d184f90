"""Test the fate of each crop."""

import json
from datetime import date, datetime, timezone

import pytest

from etude.audio import plan
from etude.config.audio import MelSettings
from etude.frames import small_frame
from etude.lake.tables import MEL, REJECTS

MEL_SETTINGS = MelSettings()
LISTED = (
    "track_id string, path string, audio_uri string, file_size bigint, file_mtime_us bigint, "
    "reason string, detail string"
)
FILES = f"{LISTED}, of_alias boolean"
RESULTS = (
    "track_id string, crop int, path string, audio_uri string, file_size bigint, file_mtime_us bigint, "
    "reason string, detail string"
)
DAY, EARLIER = date(2026, 1, 31), date(2026, 1, 1)


def there(track, uri, size=10, mtime=5, of_alias=False):
    return (track, f"path of {uri}", uri, size, mtime, None, None, of_alias)


def refused(track, path, reason):
    return (track, path, None, None, None, reason, "why", False)


@pytest.fixture
def rows(spark):
    def crops(files, n=1, known=()):
        return plan.crops_of(small_frame(spark, files, FILES), n, mel(*known))

    def mel(*known):
        full = [
            (track, crop, "sha", [0.0], 1, 1, 8000, 0.0, 9.0, uri, size, moment(mtime), "content")
            for track, crop, uri, size, mtime in known
        ]
        return small_frame(spark, full, MEL.schema)

    def rejects(*known):
        full = [("mel", "s", locator, raw, reason, "old", EARLIER) for locator, raw, reason in known]
        return small_frame(spark, full, REJECTS.schema)

    rows = type("Rows", (), {"crops": staticmethod(crops), "mel": staticmethod(mel), "rejects": staticmethod(rejects)})
    rows.spark = spark
    return rows


def moment(us):
    return datetime.fromtimestamp(us / 1e6, timezone.utc)


def raw_of(uri, size=10, mtime=5, tried_with=MEL_SETTINGS.attempt_sha256):
    return json.dumps({"audio_uri": uri, "file_size": size, "file_mtime_us": mtime, "tried_with": tried_with})


def told(frame, *columns):
    return {tuple(row) for row in frame.select(*columns).collect()}


@pytest.mark.slow
def test_a_track_has_one_file_and_locators_are_unique(rows):
    files = [there("t", "b"), there("t", "a"), there("t", "a"), refused("t", "gone", "missing"), there("u", "c")]
    crops = rows.crops([*files, refused(None, "x", "bad_row"), refused(None, "x", "bad_row")], n=2)
    assert told(crops.where("crop = 0"), "locator", "audio_uri", "reason") == {
        ("t#0", "a", None),
        ("t#0@2", "a", "duplicate"),
        ("t#0@3", "b", "duplicate"),
        ("t#0@4", None, "missing"),
        ("u#0", "c", None),
        ("#0", None, "bad_row"),
        ("#0@2", None, "bad_row"),
    }
    assert crops.count() == crops.select("locator").distinct().count() == 14
    assert told(crops.where("locator = 't#1@3'"), "detail") == {("the track already has a",)}


@pytest.mark.slow
def test_of_several_files_the_one_in_use_stays_and_one_that_can_be_decoded_comes_first(rows):
    files = [there("t", "a.m4a"), there("t", "b.mp3"), there("t", "c.WAV"), there("t", "a.ogg", of_alias=True)]

    def first(*known):
        return told(rows.crops(files, known=known).where("reason IS NULL"), "audio_uri")

    assert first() == {("b.mp3",)}
    assert first(("t", 0, "c.WAV", 10, 5)) == {("c.WAV",)}
    assert first(("t", 0, "gone.wav", 10, 5), ("u", 0, "c.WAV", 10, 5)) == {("b.mp3",)}


@pytest.mark.slow
def test_the_file_of_an_alias_is_one_of_its_track(rows):
    files = small_frame(rows.spark, [there("old", "a")[:-1], there("t", "b")[:-1], there("unknown", "c")[:-1]], LISTED)
    tracks = small_frame(rows.spark, [("old", "t"), ("t", None), ("other", None)], "track_id string, alias_of string")
    assert told(plan.of_tracks(files, tracks), "track_id", "audio_uri", "of_alias") == {
        ("t", "a", True), ("t", "b", False), ("unknown", "c", False),
    }  # fmt: skip


def test_fates(rows):
    crops = rows.crops([there("same", "s"), there("larger", "l"), there("younger", "y"), there("moved", "m2"),
                        there("bad", "b"), there("retried", "r"), there("other settings", "o"), there("new", "n"),
                        refused("none", "x", "missing")])  # fmt: skip
    mel = rows.mel(
        ("same", 0, "s", 10, 5), ("larger", 0, "l", 9, 5), ("younger", 0, "y", 10, 4), ("moved", 0, "m", 10, 5)
    )
    rejects = rows.rejects(
        ("bad#0", raw_of("b"), "too_short"),
        ("retried#0", raw_of("r"), "timeout"),
        ("other settings#0", raw_of("o", tried_with="x"), "silent"),
        ("new#0", "no json", "silent"),
    )
    fates = plan.fates(crops, mel, rejects, MEL_SETTINGS.attempt_sha256)
    assert dict(told(fates, "track_id", "fate")) == {
        "same": "unchanged",
        "larger": "changed",
        "younger": "changed",
        "moved": "changed",
        "bad": "remembered",
        "retried": "new",
        "other settings": "new",
        "new": "new",
        "none": "refused",
    }


def test_only_the_crops_that_lack_are_asked(rows):
    mel = rows.mel(("t", 0, "a", 10, 5), ("t", 2, "a", 10, 5), ("u", 0, "b", 10, 5))
    crops = plan.fates(rows.crops([there("t", "a"), there("u", "b")], n=4), mel, rows.rejects(), "x")
    asked = plan.asked_files(crops).collect()
    assert {(row["track_id"], tuple(row["crops"])) for row in asked} == {("t", (1, 3)), ("u", (1, 2, 3))}


@pytest.mark.slow
def test_rejects_are_those_of_the_listing_of_the_computation_and_of_memory(rows):
    before = rows.rejects(("bad#0", raw_of("b"), "too_short"), ("gone#0", raw_of("g"), "silent"))
    files = [refused("none", "x", "missing"), there("bad", "b"), there("new", "n"), there("good", "g")]
    crops = plan.fates(rows.crops(files), rows.mel(), before, MEL_SETTINGS.attempt_sha256)
    results = small_frame(
        rows.spark, [("new", 0, "p", "n", 10, 5, "undecodable", "d"), ("good", 0, "p", "g", 10, 5, None, None)], RESULTS
    )
    rejects = plan.all_rejects(crops, results, before, "s", MEL_SETTINGS, DAY)
    assert told(rejects, "locator", "reason", "detail", "batch_date") == {
        ("none#0", "missing", "why", DAY),
        ("new#0", "undecodable", "d", DAY),
        ("bad#0", "too_short", "old", EARLIER),
    }
    # The next run remembers the new refusals.
    again = plan.fates(rows.crops([there("new", "n")]), rows.mel(), rejects, MEL_SETTINGS.attempt_sha256)
    assert told(again, "fate") == {("remembered",)}


def test_rows_of_audio_that_can_no_longer_be_used_are_outdated(rows):
    more = [("v", 1, "c", 1, 1), ("v", 2, "c", 1, 1), ("x", 1, "e", 10, 5)]  # of runs with more crops
    known = rows.mel(("t", 0, "a", 1, 1), ("u", 0, "b", 1, 1), ("v", 0, "c", 1, 1), ("x", 0, "e", 10, 5), *more)
    files = [there("t", "a"), there("u", "b"), there("v", "c"), there("w", "d"), there("x", "e")]
    crops = plan.fates(rows.crops(files), known, rows.rejects(), "x")
    results = small_frame(
        rows.spark,
        [
            ("t", 0, "p", "a", 10, 5, "undecodable", "d"),
            ("u", 0, "p", "b", 10, 5, "timeout", "d"),
            ("v", 0, "p", "c", 10, 5, None, None),
            ("w", 0, "p", "d", 10, 5, "undecodable", "d"),
        ],
        RESULTS,
    )
    sha = MEL_SETTINGS.settings_sha256
    assert told(plan.outdated(crops, results, known, MEL_SETTINGS), "track_id", "crop", "settings_sha256") == {
        ("t", 0, sha), ("v", 1, sha), ("v", 2, sha),
    }  # fmt: skip
