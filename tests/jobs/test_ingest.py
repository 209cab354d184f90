"""The ingest job: nights, backfills and mistakes, on logs made here."""

from __future__ import annotations

import gzip
import io
import json
import logging
import shutil
import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lake_files import rows, state

from etude.config import load_settings
from etude.job import Arguments, execute
from etude.lake import Lake
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


@pytest.fixture
def dies_at(monkeypatch):
    """A `with` block in which the job dies when it is about to write a table."""

    def dying(write, table):
        def instead(lake, to, *given, **more):
            if to == table:
                raise KeyboardInterrupt(table)
            return write(lake, to, *given, **more)

        return instead

    @contextmanager
    def block(table):
        with monkeypatch.context() as patch:
            for name in ("replace", "merge"):
                patch.setattr(Lake, name, dying(getattr(Lake, name), table))
            with pytest.raises(KeyboardInterrupt, match=table):
                yield

    return block


def by_ids(lake: Path) -> dict[str, list]:
    """The tables with ids in the place of indices, whose numbers depend on the order of the batches."""
    now = state(lake)
    users = {row["user_idx"]: row["user_id"] for row in now["users"]}
    tracks = {row["track_idx"]: row["track_id"] for row in now["tracks"]}
    for row in now["interactions"]:
        row["user_idx"], row["track_idx"] = users[row["user_idx"]], tracks[row["track_idx"]]
    for row in (*now["users"], *now["tracks"]):
        row.pop("user_idx", None), row.pop("track_idx", None)
    return {table: sorted(map(str, found)) for table, found in now.items()}


HEAD = "user,track,at,n,title,artist\n"
LANDED = {
    DAYS[0]: [
        "u1,t1,2026-01-29T10:00:00Z,1,One,A",
        "u1,t1,2026-01-29T10:00:00Z,1,One,A",  # a repeat
        "u1,t2,2026-01-29T11:00:00Z,2,Two,A",
        "u2,t1,2026-01-29T12:00:00Z,-3,One,A",
        "u2,t1,yesterday,1,One,A",
        "u2,,2026-01-29T13:00:00Z,1,No Id,A",
    ],
    DAYS[1]: [
        "u2,t1,2026-01-30T10:00:00Z,1,Uno,A",
        "u1,t2,2026-01-29T11:00:00Z,2,Two,A",  # comes again
        ",t1,2026-01-30T11:00:00Z,1,One,A",
        "u3,t3,2026-01-30T12:00:00Z,1",
        "u3,t3,2026-01-30T13:00:00Z,5,Three,B",
        "u1,t1,2026-01-29T10:00:00Z,1,One,A",  # and again, and then a repeat of this night's own
        "u1,t1,2026-01-29T10:00:00Z,1,One,A",
        *["u2,t1,2026-01-30T10:00:00Z,1,Uno,A"] * 3,
    ],
}


@pytest.fixture
def landing(tmp_path):
    for day, lines in LANDED.items():
        folder = tmp_path / "landing" / str(day)
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(HEAD + "\n".join(lines) + "\n")
    return f"listening.path={tmp_path / 'landing' / '{batch_date}'}"


def test_nights_in_order_and_in_reverse_and_killed_end_the_same_and_reruns_change_nothing(
    start, landing, tmp_path, dies_at, log
):
    first, second = LANDED
    code, line = start(landing, EVENTS, day=first)
    assert code == 0
    assert line["rows"]["rows_in"] == 6 and line["rows"]["plays_kept"] == 3
    assert line["rejected"] == {"bad_timestamp": 1, "duplicate": 1, "negative_count": 1}
    assert "hint='most rows are known already" not in log.getvalue()
    assert start(landing, EVENTS, day=second)[0] == 0
    assert "duplicates=6 rows_in=10 hint='most rows are known already" in log.getvalue()
    ends = state(start.lake)
    assert [row["reason"] for row in ends["rejects"]].count("duplicate") == 7
    assert sorted(row["user_idx"] for row in ends["users"]) == [0, 1, 2]
    assert sum(row["play_count"] for row in ends["interactions"]) == 10
    assert len({row["event_id"] for row in ends["plays"]}) == len(ends["plays"]) == 5

    assert start(landing, EVENTS, day=first)[0] == 0
    assert state(start.lake) == ends

    for day, table in ((second, "tracks"), (first, "ingested_files")):
        with dies_at(table):
            start(landing, EVENTS, day=day, lake="backwards")
        assert start(landing, EVENTS, day=day, lake="backwards")[0] == 0
    assert by_ids(tmp_path / "backwards") == by_ids(start.lake)


def test_under_a_key_no_raw_id_is_anywhere_in_the_lake_nor_said(start, tmp_path, monkeypatch, log):
    monkeypatch.setenv("ETUDE_USER_KEY", "the key that nobody sees")
    ids = [f"listener-{n:04d}-secret" for n in range(6)]
    at = "2026-01-29T10:00:00Z"
    lines = [
        f"{ids[0]},t1,{at},1,One,A,x",
        f"{ids[1]},t1,{at},many,One,A,{ids[1]}@example.org",
        f"{ids[2]},t1,{at}",
        f"shifted,{ids[3]},t1,{at},1,One,A,x",
        f"{ids[4]},t\xff,{at},1,One,A,x",
        f"{ids[0]},t1,{at},1,One,A,x",
        f"{ids[5]},t1,never,1,One,A,x",
    ]
    head = HEAD.strip() + ",mail\n"
    (tmp_path / "log.csv").write_bytes(head.encode() + "\n".join(lines).encode("latin-1"))
    code, line = start(f"listening.path={tmp_path / 'log.csv'}", EVENTS)
    assert code == 0 and line["rows"]["rejects"] == 6
    said = json.dumps(line)
    (tmp_path / "no header.csv").write_text("listener-secret,t1,wonderwall\n")
    code, line = start(f"listening.path={tmp_path / 'no header.csv'}", day=DAYS[1])
    assert code == 4 and "3 columns" in line["error"] and "3 columns" in log.getvalue()
    said += json.dumps(line) + log.getvalue()
    held = [file for file in start.lake.rglob("*") if file.is_file()]
    texts = [pq.ParquetFile(file).read().to_pylist() for file in held if file.suffix == ".parquet"]
    everything = said + str(texts) + "".join(file.read_bytes().decode("latin-1") for file in held)
    assert "lake=file:" in said
    for secret in ("-secret", "the key that nobody sees"):
        assert secret not in everything
    (user,) = rows(start.lake, "users")
    assert len(user["user_id"]) == 64


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


def test_a_column_that_vanishes_from_a_later_file_is_changed_data(start, tmp_path, log):
    path = f"listening.path={tmp_path / '{batch_date}.csv'}"
    (tmp_path / f"{DAYS[0]}.csv").write_text("user,track,listens\nu,t,7\n")
    (tmp_path / f"{DAYS[1]}.csv").write_text("user,piece of music,mood\nu,t,glad\n")
    assert start(path, "listening.columns={user: user, track: track}", day=DAYS[0])[0] == 0
    assert "listening.columns.play_count=null hint='column listens looks like it and is not read'" in log.getvalue()
    code, line = start(path, day=DAYS[1])
    assert code == 4 and "track" in line["error"]
