"""The ingest job: nights, backfills and mistakes on logs made here, and the real logs through spark-submit."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from etude.config import load_settings
from etude.job import Arguments, execute
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import ingest

pytestmark = pytest.mark.slow

DAYS = [date(2026, 1, day) for day in (29, 30, 31)]
OUTPUTS = ("plays", "rejects", "tracks", "users", "interactions")
EVENTS = "listening.columns={user: user, track: track, played_at: at, play_count: n, title: title, artist: artist}"


@pytest.fixture
def start(spark, tmp_path):
    """Run the job in a lake of its own; gives the exit status and the JSON line."""

    def run(*overrides, day=DAYS[0], lake="lake"):
        settings = load_settings((), [f"lake.root={tmp_path / lake}", "spark.snapshot_partitions=1", *overrides])
        outcome = execute("ingest", ingest.run, spark, Arguments(settings, day, str(day), False), job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    run.lake = tmp_path / "lake"
    return run


def rows(lake: Path, table: str) -> list[dict]:
    if not (lake / table).exists():
        return []
    found = [row for file in DeltaTable(str(lake / table)).file_uris() for row in _read(lake / table, file)]
    return sorted(found, key=lambda row: str(sorted(row.items(), key=str)))


def _read(root: Path, file: str) -> list[dict]:
    path = Path(file.removeprefix("file://"))
    found = pq.ParquetFile(path).read().to_pylist()
    parts = dict(part.split("=", 1) for part in path.relative_to(root).parts[:-1])
    return [{**row, **parts} for row in found]


def state(lake: Path) -> dict[str, list[dict]]:
    return {table: rows(lake, table) for table in OUTPUTS}


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
    ],
    DAYS[2]: [
        "u3,t3,2026-01-31T10:00:00Z,5,Three,B",
        "u1,t1,2026-01-29T10:00:00Z,1,One,A",  # and again
        "u2,t1,2026-01-30T10:00:00Z,1,Uno,A",
    ],
}


@pytest.fixture
def landing(tmp_path):
    for day, lines in LANDED.items():
        folder = tmp_path / "landing" / str(day)
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(HEAD + "\n".join(lines) + "\n")
    return f"listening.path={tmp_path / 'landing' / '{batch_date}'}"


def test_nights_in_order_and_in_reverse_end_the_same_and_reruns_change_nothing(start, landing, tmp_path):
    code, line = start(landing, EVENTS, day=DAYS[0])
    assert code == 0
    assert line["rows"]["rows_in"] == 6 and line["rows"]["plays_kept"] == 3
    assert line["rejected"] == {"bad_timestamp": 1, "duplicate": 1, "negative_count": 1}
    for day in DAYS[1:]:
        assert start(landing, EVENTS, day=day)[0] == 0
    ends = state(start.lake)
    assert [row["reason"] for row in ends["rejects"]].count("duplicate") == 4
    assert sorted(row["user_idx"] for row in ends["users"]) == [0, 1, 2]
    assert sum(row["play_count"] for row in ends["interactions"]) == 10
    assert len({row["event_id"] for row in ends["plays"]}) == len(ends["plays"]) == 5

    assert start(landing, EVENTS, day=DAYS[1])[0] == 0
    assert state(start.lake) == ends

    for day in reversed(DAYS):
        assert start(landing, EVENTS, day=day, lake="backwards")[0] == 0
    assert by_ids(tmp_path / "backwards") == by_ids(start.lake)


def test_under_a_key_no_raw_id_is_anywhere_in_the_lake(start, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("ETUDE_USER_KEY", "the key that nobody sees")
    ids = [f"listener-{n:04d}-secret" for n in range(6)]
    at = "2026-01-29T10:00:00Z"
    lines = [
        f"{ids[0]},t1,{at},1,One,A",
        f"{ids[1]},t1,{at},many,One,A",
        f"{ids[2]},t1,{at}",
        f"shifted,{ids[3]},t1,{at},1,One,A",
        f"{ids[4]},t\xff,{at},1,One,A",
        f"{ids[0]},t1,{at},1,One,A",
        f"{ids[5]},t1,never,1,One,A",
    ]
    (tmp_path / "log.csv").write_bytes(HEAD.encode() + "\n".join(lines).encode("latin-1"))
    code, line = start(f"listening.path={tmp_path / 'log.csv'}", EVENTS)
    assert code == 0 and line["rows"]["rejects"] == 6
    said = json.dumps(line) + "".join(capfd.readouterr())
    held = [file for file in start.lake.rglob("*") if file.is_file()]
    texts = [pq.ParquetFile(file).read().to_pylist() for file in held if file.suffix == ".parquet"]
    everything = said + str(texts) + "".join(file.read_bytes().decode("latin-1") for file in held)
    for secret in ("-secret", "the key that nobody sees"):
        assert secret not in everything
    (user,) = rows(start.lake, "users")
    assert len(user["user_id"]) == 64


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
    start, tmp_path, capfd, content, overrides, code, said
):
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = state(start.lake)
    found, line = start(f"listening.path={path}", *overrides)
    assert found == code
    assert said in line["error"] and line["status"] == "failed"
    assert state(start.lake) == before


def test_columns_are_guessed_and_catalogues_merged(start, tmp_path, caplog):
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


def test_a_column_that_vanishes_from_a_later_file_is_changed_data(start, tmp_path):
    log = f"listening.path={tmp_path / '{batch_date}.csv'}"
    (tmp_path / f"{DAYS[0]}.csv").write_text("user,track\nu,t\n")
    (tmp_path / f"{DAYS[1]}.csv").write_text("user,piece of music,mood\nu,t,glad\n")
    assert start(log, day=DAYS[0])[0] == 0
    code, line = start(log, day=DAYS[1])
    assert code == 4 and "track" in line["error"]


@pytest.fixture
def real(submit, real_data, tmp_path):
    """Run the job by spark-submit with one of the settings files for the real logs."""

    def run(conf, *overrides, code=0):
        config = Path(ingest.__file__).parents[1] / "conf" / f"{conf}.yaml"
        done = submit(
            "ingest", "--config", str(config), f"lake.root={tmp_path / 'lake'}", *overrides,
            env={"ETUDE_DATA": str(real_data)},
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done

    run.lake = tmp_path / "lake"
    return run


@pytest.mark.real
def test_the_triplets_with_three_catalogues(real):
    line, _ = real("taste-profile")
    assert line["rows"] == {
        "files_read": 1,
        "files_skipped": 0,
        "rows_in": 42739,
        "plays_kept": 42739,
        "rejects": 0,
        "users": 1630,
        "tracks": 68265,
        "interactions": 26833,
    }
    assert [line["catalogues"][name]["played"] for name in line["catalogues"]] == [4877, 462, 160]
    assert line["catalogues"]["msd_50k"] == {"tracks": 49998, "played": 462, "ambiguous": 1}
    core = rows(real.lake, "interactions")
    assert len({row["user_idx"] for row in core}) == 1297 and len({row["track_idx"] for row in core}) == 2625
    tracks = {row["track_id"]: row for row in rows(real.lake, "tracks")}
    played = [tracks[track] for track in {row["track_id"] for row in rows(real.lake, "plays")}]
    assert len(played) == 9071

    def of_first(row, field):
        return dict(row["origins"]).get(field) == "taste_profile_with_metadata"

    assert sum(of_first(row, "artist_name") for row in played) == 4877
    assert sum(of_first(row, "release_year") for row in played) == 4031
    assert sum(bool(row["tags"]) for row in played) == 160
    assert sorted(row["track_idx"] for row in tracks.values()) == list(range(68265))


@pytest.mark.real
def test_the_sample_of_one_percent_with_genres(real):
    line, _ = real("taste-profile-1pct")
    figures = line["rows"]
    assert (figures["rows_in"], figures["plays_kept"], figures["users"]) == (497609, 497609, 334358)
    assert figures["interactions"] == 199619
    genres = line["catalogues"]["tagtraum_cd1"]
    assert genres == {"tracks": 133676, "played": 33190, "ambiguous": 0}
    core = rows(real.lake, "interactions")
    assert len({row["user_idx"] for row in core}) == 78554 and len({row["track_idx"] for row in core}) == 33987
    tracks = rows(real.lake, "tracks")
    assert sum(len(row["tags"]) == 2 for row in tracks) == 35527
    assert len({row["track_id"] for row in rows(real.lake, "plays")}) == 107001


@pytest.mark.real
def test_its_5_core_is_empty_and_nothing_is_written(real):
    five = ("listening.min_plays_per_user=5", "listening.min_plays_per_track=5", "catalogue.sources=[]")
    line, done = real("taste-profile-1pct", *five, code=3)
    assert "listening.min_plays_per_user=5" in line["error"] and "listening.min_plays_per_track=5" in done.stdout
    assert not any((real.lake / table).exists() for table in OUTPUTS)


@pytest.mark.real
def test_the_last_fm_events(real):
    line, _ = real("lastfm-1k")
    figures = line["rows"]
    assert (figures["rows_in"], figures["plays_kept"], figures["rejects"], figures["users"]) == (5000, 5000, 0, 2)
    plays = rows(real.lake, "plays")
    by_user = {user: sum(row["user_id"] == user for row in plays) for user in {row["user_id"] for row in plays}}
    assert sorted(by_user.values()) == [3, 4997]
    times = sorted(row["played_at"] for row in plays)
    assert (str(times[0].date()), str(times[-1].date())) == ("2008-12-08", "2009-05-04")
    assert sum(row["track_id"].startswith("name:") for row in plays) == 1396
    tracks = rows(real.lake, "tracks")
    assert all(row["title"] and row["artist_name"] and row["artist_id"] for row in tracks)
