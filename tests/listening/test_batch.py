"""Test whole batches: for any bytes in a file, every record is kept or rejected with a reason."""

import re
from datetime import date, datetime, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.config import load_settings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.frames import small_frame
from etude.lake.tables import INGESTED_FILES
from etude.listening.batch import check_balance, check_repeats, file_rows, read_batch
from etude.listening.columns import Wanted
from etude.listening.files import InputFile, Taken, list_files, name_root, relative_name
from etude.listening.layout import Layout
from etude.storage import literal
from held import Held

DAY, NEXT = date(2026, 1, 31), date(2026, 2, 1)
NOW = datetime(2026, 2, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def staging(spark):
    return Held(spark)


def read(staging, path, *overrides, known=(), day=DAY, key=None):
    chosen = load_settings([], [f"listening.path={path}", *(f"listening.{each}" for each in overrides)]).listening
    files = small_frame(staging.spark, list(known), INGESTED_FILES.schema)
    return read_batch(staging, chosen, files, day, NOW, key)


fields = st.sampled_from(
    [b"u1", b"u2", b"t1", b"1", b"-1", b"0", b"x", b"", b"\xff\xfe", b"\x00", b'"', b" ", "é".encode()]
)
lines = st.lists(st.lists(fields, max_size=5).map(b"\t".join), max_size=30)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, ends)
def test_counts_balance_whatever_a_file_holds(staging, tmp_path, records, end):
    path = tmp_path / "log.tsv"
    content = end.join([b"u\tt\t1", *records, b""])
    path.write_bytes(content)
    batch = read(staging, path, "format=taste-profile")
    reasons = [row["reason"] for row in batch.numbered.select("reason").collect()]
    assert batch.rows_in == len(reasons) == len([line for line in re.split(rb"\r\n|\r|\n", content) if line])
    pure = [record for record in records if re.fullmatch(rb"u[12]\tt1\t1", record)]
    assert reasons.count(None) >= len(set(pure))


def row_of(file, columns=(("played_at", "ts"),)):
    return (
        "log", file.path, file.content, file.name, file.size, file.modified_at,
        file.first_batch, file.last_batch, file.taken_at, columns, None,
    )  # fmt: skip


@pytest.mark.slow
def test_files_of_earlier_batches_are_known_by_content_and_left_alone(staging, tmp_path):
    events = ("columns={user: user, track: track, played_at: ts}",)
    head = "user,track,ts\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(head + "u,t,2026-01-01\n")
    (tmp_path / "in" / "copy of a.csv").write_text(head + "u,t,2026-01-01\n")
    first = read(staging, tmp_path / "in", *events)
    assert [file.name.split("@")[0] for file in first.taken.read] == ["in/a.csv"]
    assert [file.name.split("@")[0] for file in first.taken.copies] == ["in/copy of a.csv"]
    known = [row_of(file) for file in (*first.taken.read, *first.taken.copies)]

    (tmp_path / "in" / "b.csv").write_text(head + "u,t,2026-01-02\n")
    (tmp_path / "in" / "renamed.csv").write_text(head + "u,t,2026-01-01\n")
    later = read(staging, tmp_path / "in", *events, known=known, day=NEXT)
    assert [file.name.split("@")[0] for file in later.taken.read] == ["in/b.csv"]
    assert (later.taken.skipped, later.rows_in) == (3, 1)
    again = read(staging, tmp_path / "in", *events, known=known)
    assert {file.name.split("@")[0] for file in again.taken.read} == {"in/a.csv", "in/b.csv"}
    earlier = read(staging, tmp_path / "in", *events, known=known, day=date(2026, 1, 30))
    assert earlier.taken.touched_batches == {date(2026, 1, 30), DAY}


def test_a_snapshots_files_are_read_again_by_later_batches(staging, tmp_path):
    (tmp_path / "log.tsv").write_text("u\tt\t1\n")
    first = read(staging, tmp_path / "log.tsv", "format=taste-profile")
    assert first.log.snapshot
    known = [row_of(file, (("play_count", "2"),)) for file in first.taken.read]
    later = read(staging, tmp_path / "log.tsv", "format=taste-profile", known=known, day=NEXT)
    assert [(file.first_batch, file.last_batch) for file in later.taken.read] == [(DAY, NEXT)]


@pytest.mark.parametrize(
    ("earlier", "now", "role"),
    [
        ("user,track,ts\nu,t,2026-01-01\n", "user,track\nu,t\n", "ts as played_at"),
        ("user,track\nu,t\n", "user,track,ts\nu,t,2026-01-01\n", "ts as played_at|no played_at, this one has ts"),
        ("user,track,plays\nu,t,5\n", "user,track\nu,t\n", "plays as play_count"),
    ],
)
def test_a_log_does_not_change_its_meaning_between_nights(staging, tmp_path, earlier, now, role):
    """Check that a new guess doesn't silently turn events into a snapshot, or counts into 1."""
    (tmp_path / "1.csv").write_text(earlier)
    (tmp_path / "2.csv").write_text(now)
    first = read(staging, tmp_path / "1.csv")
    known = file_rows(staging.spark, "log", first.taken, first.columns, None).collect()
    with pytest.raises(DataCheckError, match=role):
        read(staging, tmp_path / "2.csv", known=known, day=NEXT)
    assert read(staging, tmp_path / "2.csv", known=known).rows_in == 1  # a rerun of the batch may have other settings
    with pytest.raises(DataCheckError, match=r"looks like the|no such column|other files have it"):
        read(staging, tmp_path / "[12].csv")


def test_file_names_are_told_from_the_part_of_the_path_that_varies(tmp_path):
    assert name_root("/data/{batch_date}/log.tsv") == "file:///data"
    assert name_root("/data/in/*.tsv") == "file:///data/in"
    assert name_root("s3a://bucket/in") == "s3a://bucket"
    assert relative_name("file:/data/in/a%20b.tsv", "file:///data") == "in/a b.tsv"
    assert relative_name("file:/else/where.tsv", "file:///data") == "where.tsv"


def test_paths_with_signs_of_globs_are_read_as_they_are(staging, tmp_path):
    folder = tmp_path / "a[1] {x}"
    folder.mkdir()
    (folder / "log?.tsv").write_text("u\tt\t1\n")
    assert read(staging, literal(str(folder)), "format=taste-profile").rows_in == 1


@pytest.mark.parametrize(
    "name", ["plays [1].csv", "cu{a,b}.csv", "back\\slash.csv", "what?.csv", "per%20cent.csv", "ü é.csv"]
)
def test_a_file_that_is_there_is_read_whatever_its_name(staging, tmp_path, name):
    (tmp_path / name).write_text("user,track\nu,t\n")
    assert read(staging, tmp_path / name).rows_in == 1


def test_home_folders_are_found(staging, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p [1].csv").write_text("user,track\nu,t\n")
    assert read(staging, "~/p [1].csv").rows_in == 1
    assert read(staging, "~/p*.csv").rows_in == 1


def test_what_spark_cannot_find_is_said(spark, tmp_path):
    (tmp_path / "_plays.csv").write_text("user,track\nu,t\n")
    with pytest.raises(InputMissingError, match="begins with _ or"):
        list_files(spark, str(tmp_path / "_plays.csv"), DAY)
    with pytest.raises(SettingsError, match=r"\*\* is not supported; give the folder"):
        list_files(spark, str(tmp_path / "**" / "*.csv"), DAY)
    (tmp_path / "a:b.csv").write_text("user,track\nu,t\n")
    with pytest.raises(SettingsError, match="names with a colon: give the folder"):
        list_files(spark, str(tmp_path / "*.csv"), DAY)


@pytest.mark.parametrize("blank", ["\n", "\n\r\n \n"[:2]])
def test_blank_files_are_passed_over_wherever_they_stand(staging, tmp_path, blank):
    for name in ("a", "z"):
        (tmp_path / f"{name}.csv").write_text(blank)
    with pytest.raises(InputMissingError, match="blank lines"):
        read(staging, tmp_path)
    (tmp_path / "m.csv").write_text("user,track\nu,t\n")
    assert read(staging, tmp_path).rows_in == 1


REPEATED = "anna,t1\nanna,t1\nanna,t1\nbert,t1\nbert,t2\nanna,t2\n"


def test_rows_count_as_plays_if_it_is_said(staging, tmp_path):
    (tmp_path / "log.csv").write_text("user,track\n" + REPEATED)
    (tmp_path / "more.csv").write_text("user,track\nanna,t1\n")

    def kept(*overrides):
        batch = read(staging, tmp_path, *overrides)
        rows = batch.numbered.where("reason IS NULL").collect()
        assert len({row["event_id"] for row in rows}) == len(rows)
        return sorted((row["user_id"], row["track_id"]) for row in rows)

    once = [("anna", "t1"), ("anna", "t2"), ("bert", "t1"), ("bert", "t2")]
    assert kept() == once
    assert kept("count_rows=true") == sorted([*once, *[("anna", "t1")] * 3])
    (tmp_path / "more.csv").unlink()
    assert kept("count_rows=true") == sorted([*once, *[("anna", "t1")] * 2])


@pytest.mark.parametrize(
    ("header", "cells", "found"),
    [
        ("user,track,moment", "2026-01-0{n}T10:00:00Z", "column moment holds some"),
        ("user,track,noticed", "0{n}/02/2026 10:00", "column noticed holds some"),
        ("user,track,mood", "m{n}", None),
    ],
)
def test_repeats_in_a_log_without_times_are_said_and_stop_it_if_it_has_a_column_of_times(
    staging, tmp_path, header, cells, found
):
    lines = [f"u,t,{cells.format(n=n)}" for n in (1, 2, 3)]
    (tmp_path / "log.csv").write_text("\n".join([header, *lines, ""]))
    batch = read(staging, tmp_path / "log.csv")
    judged = batch.numbered, batch.columns
    chosen = load_settings([], [f"listening.path={tmp_path / 'log.csv'}"]).listening
    assert check_repeats(0, *judged, chosen) is None
    if found:
        with pytest.raises(DataCheckError, match=found):
            check_repeats(2, *judged, chosen)
    else:
        assert "count_rows=true" in check_repeats(2, *judged, chosen)
    counted = load_settings([], ["listening.count_rows=true"]).listening
    assert check_repeats(2, *judged, counted) is None


@pytest.mark.parametrize(
    ("times", "told"),
    [(["2026-01-29"] * 3, True), (["2026-01-29"] * 2 + ["2026-07-01"] * 2, True), (["2026-01-29T10:00:00Z"] * 2, True),
     (["2026-01-29T10:00:00Z"] * 2 + ["2026-01-29T11:30:00Z"] * 2 + ["2026-01-29T12:00:00Z"] * 2, False)],
)  # fmt: skip
def test_repeats_in_a_log_of_days_are_said(staging, tmp_path, times, told):
    lines = [f"u,t,{at}" for at in times]
    (tmp_path / "log.csv").write_text("\n".join(["user,track,date", *lines, ""]))
    batch = read(staging, tmp_path / "log.csv")
    chosen = load_settings([], []).listening
    assert ("a log of days without times" in str(check_repeats(1, batch.numbered, batch.columns, chosen))) == told


def test_plays_of_a_day_are_not_limited_in_a_log_without_times(staging, tmp_path):
    (tmp_path / "log.csv").write_text("user,track,plays\nu,t,10000\n")
    with pytest.raises(SettingsError, match="the log has no times, so its plays have no days; set max_plays_per_user"):
        read(staging, tmp_path / "log.csv", "max_plays_per_user_day=3")


def test_user_ids_in_names_of_folders_are_refused_under_a_key(staging, tmp_path):
    (tmp_path / "log" / "user=u").mkdir(parents=True)
    (tmp_path / "log" / "user=u" / "a.csv").write_text("track\nt\n")
    assert read(staging, tmp_path / "log").rows_in == 1
    with pytest.raises(SettingsError, match="names of folders"):
        read(staging, tmp_path / "log", key=b"secret")


def test_what_is_missing_or_empty_is_said_with_its_path(spark, staging, tmp_path):
    with pytest.raises(InputMissingError, match=r"nowhere: no such file"):
        list_files(spark, str(tmp_path / "nowhere"), DAY)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissingError, match="no files found"):
        list_files(spark, str(tmp_path / "empty"), DAY)
    (tmp_path / "empty" / "log.tsv").touch()
    with pytest.raises(InputMissingError, match="only empty ones"):
        list_files(spark, str(tmp_path / "empty"), DAY)
    (tmp_path / "empty" / "log.tsv").write_text("\n\n")
    with pytest.raises(InputMissingError, match="blank lines"):
        read(staging, tmp_path / "empty", "format=taste-profile")
    with pytest.raises(SettingsError, match=r"listening\.path: not set"):
        read_batch(staging, load_settings().listening, small_frame(spark, [], INGESTED_FILES.schema), DAY, NOW, None)


def test_a_lake_keeps_one_way_of_naming_users(spark, staging, tmp_path):
    (tmp_path / "log.tsv").write_text("u\tt\t1\n")
    file = InputFile("u", "p", "n@0", "c", 1, NOW, Layout(), (), {}, DAY, DAY, None, NOW)
    columns = Wanted("listening.columns", {"user": 0, "track": 1, "play_count": 2})
    known = file_rows(spark, "another log", Taken((file,), (), 0, frozenset()), columns, b"secret").collect()
    with pytest.raises(DataCheckError, match="read with another ETUDE_USER_KEY, and none is set now"):
        read(staging, tmp_path / "log.tsv", "format=taste-profile", known=known)
    assert read(staging, tmp_path / "log.tsv", "format=taste-profile", known=known, key=b"secret").rows_in == 1


@pytest.mark.parametrize(
    ("rows_in", "kept", "rejected", "most", "error"),
    [
        (3, 2, {"bad_count": 1}, 1.0, None),
        (3, 1, {"bad_count": 1}, 1.0, DataCheckError),
        (3, 3, {"bad_count": 1}, 1.0, DataCheckError),
        (10, 6, {"bad_count": 3, "duplicate": 1}, 0.3, None),
        (10, 6, {"bad_count": 4}, 0.3, DataCheckError),
        (4, 0, {"bad_count": 4}, 1.0, InputMissingError),
        (4, 0, {"duplicate": 4}, 1.0, None),
        (0, 0, {}, 0.0, None),
    ],
)
def test_the_balance(rows_in, kept, rejected, most, error):
    if error is None:
        check_balance(rows_in, kept, rejected, most, "log.tsv")
    else:
        with pytest.raises(error, match="rejected"):
            check_balance(rows_in, kept, rejected, most, "log.tsv")
