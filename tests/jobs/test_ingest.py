"""The ingest job: nights, backfills and mistakes, on logs made here."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import shutil
import sys
from datetime import date
from pathlib import Path

import pytest
from lake_files import rows, state

from etude.config import load_settings
from etude.job import Arguments, execute
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import ingest

pytestmark = pytest.mark.slow

DAYS = [date(2026, 1, day) for day in (29, 30)]
EVENTS = "listening.columns={user: user, track: track, played_at: at, play_count: n, title: title, artist: artist}"


@pytest.fixture
def start(spark, tmp_path):
    """Run the job in a lake of its own; gives the exit status and the JSON line."""

    def run(*overrides, day=DAYS[0], lake="lake"):
        settings = load_settings((), [f"lake.root={tmp_path / lake}", *overrides])
        outcome = execute("ingest", ingest.run, spark, Arguments(settings, day, str(day), False), job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    run.lake = tmp_path / "lake"
    return run


@pytest.fixture
def log():
    """What the job says: its logger writes to the standard error of the moment when it was made."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    job_logger().addHandler(handler)
    yield said
    job_logger().removeHandler(handler)


def test_a_night_of_known_rows_is_told_as_such(start, tmp_path, log):
    head, row = "user,track,at,n,title,artist", "u1,t1,2026-01-29T10:00:00Z,1,One,A"
    path = f"listening.path={tmp_path / '{batch_date}.csv'}"
    (tmp_path / f"{DAYS[0]}.csv").write_text(f"{head}\n{row}\n")
    (tmp_path / f"{DAYS[1]}.csv").write_text("\n".join([head, row, row, row.replace("u1", "u2"), ""]))
    assert start(path, EVENTS, day=DAYS[0])[0] == 0
    assert "hint='most rows are known already" not in log.getvalue()
    assert start(path, EVENTS, day=DAYS[1])[0] == 0
    assert "duplicates=2 rows_in=3 hint='most rows are known already" in log.getvalue()


@pytest.fixture(scope="module")
def filled(spark, tmp_path_factory):
    """A lake that holds a play of another log, to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "log.csv").write_text("user,track\nsomebody,t\n")
    overrides = [f"lake.root={folder / 'lake'}", f"listening.path={folder / 'log.csv'}", "listening.source=other"]
    arguments = Arguments(load_settings((), overrides), DAYS[0], str(DAYS[0]), False)
    assert execute("ingest", ingest.run, spark, arguments, job_logger()).exit_code == 0
    return folder / "lake"


@pytest.mark.parametrize(
    ("content", "overrides", "code", "said"),
    [
        (None, (), 3, "no such file or folder"),
        ("", (), 3, "only empty ones"),
        ("user,track\n", (), 3, "no plays"),
        ("who,what\na,b\n", (), 2, "no column looks like the user"),
        ("user,track\na,b\n", ("listening.columns={user: user, track: song}",), 2, "listening.columns.track=song"),
        ("user,track,n\nu,t,x\n", ("listening.columns={user: user, track: track, play_count: n}",), 3, "1 bad_count"),
        ("user,track\nu,t\n", ("listening.min_plays_per_user=2",), 3, "listening.min_plays_per_user=2"),
        (
            "user,track,n\nu,t,1\nv,t,x\n",
            ("listening.max_reject_share=0.4", "listening.columns={user: user, track: track, play_count: n}"),
            4,
            "1 of 2 rows rejected",
        ),
        (gzip.compress(b"user,track\nu,t\n"), (), 4, "gzip"),
    ],
    ids=["missing", "empty", "header", "names", "column", "values", "core", "share", "disguise"],
)
def test_a_run_that_fails_says_why_and_leaves_the_lake_as_it_was(
    start, filled, tmp_path, content, overrides, code, said
):
    if said != "no plays":
        shutil.copytree(filled, start.lake)
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = state(start.lake)
    found, line = start(f"listening.path={path}", *overrides)
    assert found == code
    assert said in line["error"] and line["status"] == "failed"
    assert state(start.lake) == before
    assert bool(before["plays"]) == (said != "no plays")


def test_columns_are_guessed_and_catalogues_merged(start, tmp_path):
    (tmp_path / "log.csv").write_text("song_id;listen_count;user_id\nt1;3;u1\nt2;1;u1\nt1;2;u2\n")
    (tmp_path / "one.csv").write_text("track_id,title,artist,year\nt1,One,Band,0\nt9,Nine,Other,1999\n,,x,1\n")
    (tmp_path / "two.cls").write_text("t1\tRock\tPop\nt2\tJazz\n")
    sources = (
        f"catalogue.sources=[{{path: '{tmp_path}/one.csv'}}, {{path: '{tmp_path}/two.cls', delimiter: tab, "
        "ragged: true, columns: {track: 0, tags: [1, 2]}}]"
    )
    code, line = start(f"listening.path={tmp_path / 'log.csv'}", sources)
    assert code == 0
    tracks = {row["track_id"]: row for row in rows(start.lake, "tracks")}
    assert set(tracks) == {"t1", "t2", "t9"}
    assert (tracks["t1"]["title"], tracks["t1"]["release_year"], tracks["t1"]["tags"]) == ("One", None, ["Pop", "Rock"])
    assert line["catalogues"]["one"] == {"tracks": 2, "played": 1, "ambiguous": 0}
    assert [(row["source"], row["reason"]) for row in rows(start.lake, "rejects")] == [("catalogue:one", "empty_track")]
    first = state(start.lake)
    assert start(f"listening.path={tmp_path / 'log.csv'}", sources, day=DAYS[0])[0] == 0
    assert state(start.lake) == first


def test_plays_of_aliases_count_for_their_tracks(start, tmp_path):
    """The second night's list names a chain, and the first night's plays count anew; without a list it stays so."""
    path = f"listening.path={tmp_path / '{batch_date}.csv'}"
    (tmp_path / f"{DAYS[0]}.csv").write_text("user,track,listens\nu,old,7\nv,other,1\n")
    (tmp_path / f"{DAYS[1]}.csv").write_text("user,track,listens\nu,new,2\nv,older,3\n")
    (tmp_path / "aliases.tsv").write_text("older\told\nold\tnew\nnobody's\tnew\nbroken\n")
    lists = f"catalogue.aliases=[{{path: '{tmp_path}/aliases.tsv', columns: {{alias: 0, id: 1}}}}]"
    assert start(path)[0] == 0
    code, line = start(path, lists, day=DAYS[1])
    assert (code, line["rows"]["track_aliases"]) == (0, 2)

    tracks = {row["track_id"]: row for row in rows(start.lake, "tracks")}
    assert {key: row["alias_of"] for key, row in tracks.items()} == {
        "old": "new",
        "older": "new",
        "new": None,
        "other": None,
    }
    idx = {user["user_id"]: user["user_idx"] for user in rows(start.lake, "users")}
    summed = {(row["user_idx"], row["track_idx"]): row["play_count"] for row in rows(start.lake, "interactions")}
    new, other = (tracks[key]["track_idx"] for key in ("new", "other"))
    assert summed == {(idx["u"], new): 9, (idx["v"], new): 3, (idx["v"], other): 1}
    assert {row["track_id"] for row in rows(start.lake, "plays")} == {"old", "older", "new", "other"}
    assert [(row["source"], row["reason"]) for row in rows(start.lake, "rejects")] == [
        ("aliases:aliases", "wrong_columns")
    ]
    before = state(start.lake)
    assert start(path, day=DAYS[1])[0] == 0
    assert state(start.lake) == before


def test_a_column_that_vanishes_from_a_later_file_is_changed_data(start, tmp_path, log):
    path = f"listening.path={tmp_path / '{batch_date}.csv'}"
    (tmp_path / f"{DAYS[0]}.csv").write_text("user,track,listens\nu,t,7\n")
    (tmp_path / f"{DAYS[1]}.csv").write_text("user,piece of music,mood\nu,t,glad\n")
    assert start(path, "listening.columns={user: user, track: track}", day=DAYS[0])[0] == 0
    assert "listening.columns.play_count=null hint='column listens looks like it and is not read'" in log.getvalue()
    code, line = start(path, day=DAYS[1])
    assert code == 4 and "track" in line["error"]


@pytest.fixture
def nights(start, tmp_path, log):
    """Ingest some rows as one night's file, and return how interactions came about."""

    def night(day, *plays, options=(), of=None):
        text = "".join(f"{user},{track},{of or day}T{hour:02}:00:00Z,{n},,\n" for user, track, hour, n in plays)
        (tmp_path / f"{day}.csv").write_text("user,track,at,n,title,artist\n" + text)
        log.seek(0)
        log.truncate()
        code, line = start(f"listening.path={tmp_path / '{batch_date}.csv'}", EVENTS, *options, day=day)
        assert code == 0
        assert sums_of(start.lake) == plain_sums(start.lake)
        assert line["rows"]["interactions"] == len(sums_of(start.lake))
        said = [each.partition("=")[2] for each in log.getvalue().splitlines() if each.startswith("interactions=")]
        return said[0]

    return night


def sums_of(lake):
    ids = [{row[f"{side}_idx"]: row[f"{side}_id"] for row in rows(lake, f"{side}s")} for side in ("user", "track")]
    return {
        (ids[0][row["user_idx"]], ids[1][row["track_idx"]]): (
            row["play_count"],
            row["first_played_at"],
            row["last_played_at"],
        )
        for row in rows(lake, "interactions")
    }


def plain_sums(lake):
    found = {}
    for row in rows(lake, "plays"):
        count, first, last = found.get((row["user_id"], row["track_id"]), (0, row["played_at"], row["played_at"]))
        at = row["played_at"]
        found[row["user_id"], row["track_id"]] = (count + row["play_count"], min(first, at), max(last, at))
    return found


def test_a_nights_new_plays_are_added_to_the_sums(spark, nights, start, monkeypatch):
    first = [("u", "s", 1, 2), ("u", "t", 2, 1), ("v", "t", 3, 1)]
    second = [("u", "s", 1, 1), ("v", "s", 2, 1), ("w", "x", 3, 4)]
    assert "no run before" in nights(DAYS[0], *first)
    assert nights(DAYS[1], *second) == "added pairs=3"
    # The same night again, with another count; and an older batch that holds a play of the first night.
    assert "a table has changed" in nights(DAYS[1], *second[:2], ("w", "x", 3, 5))
    assert "plays of earlier runs change" in nights(date(2026, 1, 28), first[0], of=DAYS[0])
    spark.sql(f"OPTIMIZE delta.`{start.lake}/plays`")
    assert nights(date(2026, 1, 31), ("v", "t", 1, 1), ("x", "y", 1, 1)) == "added pairs=2"
    # Somebody removes a user from the plays.
    spark.sql(f"DELETE FROM delta.`{start.lake}/plays` WHERE user_id = 'v'")
    assert "a table has changed" in nights(date(2026, 2, 1), ("u", "t", 1, 1))
    # A run is stopped between plays and interactions.
    replace = ingest.JobRun.replace

    def stopped(job, table, frame, **equals):
        if table == "interactions":
            raise OSError("no space left on device")
        replace(job, table, frame, **equals)

    monkeypatch.setattr(ingest.JobRun, "replace", stopped)
    with pytest.raises(AssertionError):
        nights(date(2026, 2, 2), ("u", "z", 1, 1))
    monkeypatch.undo()
    assert "a table has changed" in nights(date(2026, 2, 3), ("u", "zz", 1, 1))
    assert nights(date(2026, 2, 4), ("u", "zz", 1, 1)) == "added pairs=1"
    # Somebody removes a user while a run is at work: that run has read the plays before.
    assert any(user == "w" for user, _ in sums_of(start.lake))

    def meanwhile(job, table, frame, **equals):
        if table == "plays":
            spark.newSession().sql(f"DELETE FROM delta.`{start.lake}/plays` WHERE user_id = 'w'")
        replace(job, table, frame, **equals)

    monkeypatch.setattr(ingest.JobRun, "replace", meanwhile)
    with pytest.raises(AssertionError):
        nights(date(2026, 2, 5), ("u", "zz", 2, 1))
    monkeypatch.undo()
    assert "a table has changed" in nights(date(2026, 2, 6), ("u", "zz", 3, 1))
    assert not any(user == "w" for user, _ in sums_of(start.lake))


def test_filtered_sums_are_not_added_to(nights, start):
    assert "filters" in nights(DAYS[0], ("u", "s", 1, 2), ("v", "s", 2, 1), options=("listening.sample_users=2",))
    assert "filtered them before" in nights(DAYS[1], ("u", "s", 1, 2))
    assert nights(date(2026, 1, 31), ("u", "s", 1, 2)) == "added pairs=1"


def test_many_new_plays_are_summed_with_the_others(nights, monkeypatch):
    monkeypatch.setattr(ingest, "MOST_ADDED", 1)
    nights(DAYS[0], ("u", "s", 1, 2))
    assert nights(DAYS[1], ("u", "t", 1, 2), ("v", "t", 1, 2)) == "summed reason='many new plays'"
    assert nights(date(2026, 1, 31), ("u", "t", 1, 2)) == "added pairs=1"


@pytest.mark.parametrize("order", [(0, 1, 0), (1, 0, 1), (0, 1, 1)])
def test_a_log_of_rows_without_times_holds_in_each_batch_all_plays_so_far(start, tmp_path, order):
    """The newest batch decides of a user and track, by more rows or by fewer, in whatever order batches are read."""
    for day, plays in zip(DAYS, ({"u,t": 3, "v,t": 1, "w,t": 2}, {"u,t": 1, "v,t": 2, "x,t": 1}), strict=True):
        (tmp_path / f"{day}.csv").write_text("user,track\n" + "".join(f"{pair}\n" * n for pair, n in plays.items()))
    for place in order:
        path = f"listening.path={tmp_path / '{batch_date}.csv'}"
        code, line = start(path, "listening.count_rows=true", day=DAYS[place])
        assert code == 0, line
        assert line["rows"]["rows_in"] == line["rows"]["plays_kept"]
    assert {pair: n for pair, (n, *_) in sums_of(start.lake).items()} == {
        ("u", "t"): 1, ("v", "t"): 2, ("w", "t"): 2, ("x", "t"): 1,
    }  # fmt: skip
    assert not rows(start.lake, "rejects")


@pytest.mark.parametrize("user", ["u", "z"])  # whose larger file comes first, or last, by the hash of its content
def test_a_log_of_rows_that_grows_in_place_stays_readable(start, tmp_path, user):
    path = f"listening.path={tmp_path / 'log.csv'}"
    for text, day in (("", 0), (f"{user},s\n", 0), (f"{user},s\n", 0), (f"{user},s\n", 1)):
        (tmp_path / "log.csv").write_text(f"user,track\n{user},t\n{user},t\n{text}")
        code, line = start(path, "listening.count_rows=true", day=DAYS[day])
        assert code == 0, line
        locators = [row["locator"] for row in rows(start.lake, "rejects")]
        assert len(set(locators)) == len(locators)
    assert {pair: n for pair, (n, *_) in sums_of(start.lake).items()} == {(user, "t"): 2, (user, "s"): 1}


def test_rows_of_a_day_count_as_plays_if_it_is_said(start, tmp_path, log):
    for day in DAYS:
        (tmp_path / f"{day}.csv").write_text("user,track,date\n" + f"u,t,{day}\n" * 3)
    path = f"listening.path={tmp_path / '{batch_date}.csv'}"
    for day in (*DAYS, DAYS[0]):
        assert start(path, "listening.count_rows=true", day=day)[0] == 0
    assert {pair: n for pair, (n, *_) in sums_of(start.lake).items()} == {("u", "t"): 6}
    assert "a log of days without times" not in log.getvalue()
    assert start(path, lake="other")[0] == 0
    assert "a log of days without times: each counts as 1 play" in log.getvalue()


@pytest.mark.parametrize("header", ["user,track,at,n,title,artist", "user,track,moment,n,title,artist"])
def test_a_batch_is_corrected_as_the_docs_say(spark, start, tmp_path, header):
    """A wrong file, under the right columns and under one that is taken for no time, is undone without a trace."""
    columns, path = EVENTS.replace("at,", "moment,"), f"listening.path={tmp_path / '{batch_date}.csv'}"
    wrong = "listening.columns={user: user, track: track, play_count: n}" if "moment" in header else EVENTS
    (tmp_path / f"{DAYS[0]}.csv").write_text(
        f"{header}\nu,t,2026-01-29T10:00:00Z,500,,\nu,s,2026-01-29T11:00:00Z,x,,\n"
    )
    assert start(path, wrong)[0] == 0
    docs = (Path(__file__).resolve().parents[2] / "docs" / "operating.md").read_text()
    recipe = docs.partition("## Correcting a batch")[2].partition("\n## ")[0]
    deletes = re.findall(r'spark-sql -e "(DELETE[^"]+)"', recipe)
    assert len(deletes) == 3
    for text in deletes:
        spark.sql(text.replace("\\`", "`").replace("/data/lake", str(start.lake)))
    right = columns if "moment" in header else EVENTS
    text = f"{header}\nu,t,2026-01-29T10:00:00Z,5,,\n"
    (tmp_path / f"{DAYS[0]}.csv").write_text(text)
    (tmp_path / f"{DAYS[1]}.csv").write_text(text.replace("01-29", "01-30"))
    for day in DAYS:
        code, line = start(path, right, day=day)
        assert code == 0, line
        assert start(path, right, day=day, lake="right")[0] == 0
    found, expected = state(start.lake), state(tmp_path / "right")
    assert found.keys() == expected.keys()
    for table in ("plays", "rejects"):
        assert found[table] == expected[table], table
    assert sums_of(start.lake) == sums_of(tmp_path / "right")
