"""Test lists of aliases: what each id stands for, and what that changes in `tracks` and in the sums of plays."""

import random
from datetime import date, datetime, timezone

import pytest

from etude.config.listening import AliasSource, CatalogueSource
from etude.errors import DataCheckError, SettingsError
from etude.frames import small_frame
from etude.interactions import sum_plays
from etude.lake.tables import TRACKS
from etude.listening.aliases import Aliases, read_aliases, resolved
from etude.listening.catalogue import read_catalogue
from etude.listening.columns import Wanted
from etude.listening.tracks import merge_tracks
from etude.tracks import indices, without_aliases

DAY = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
PLAYED = "track_id string, title string, artist string, artist_id string"
PAIR = "alias string, id string"


@pytest.fixture
def read(staging, tmp_path):
    def run(text, name="ids.tsv", **source):
        (tmp_path / name).write_text(text)
        return read_aliases(staging, AliasSource(path=str(tmp_path / name), **source), DAY, NOW)

    return run


@pytest.fixture
def listed(spark):
    """Return a list of aliases without a file."""

    def make(*pairs, of="track"):
        frame = small_frame(spark, pairs, PAIR)
        return Aliases(of, "aliases:x", frame, frame.limit(0), Wanted("catalogue.aliases[x].columns", {}))

    return make


def pairs_of(frame):
    return {row["alias"]: row["id"] for row in frame.collect()}


def test_a_list_without_header_is_read_by_position_and_its_bad_rows_are_rejects(read):
    found = read("1092764\t1000311\n1095122\t\n\t5\n7\t7\n8\t9\t10\n", columns={"alias": 0, "id": 1})
    assert pairs_of(found.pairs) == {"1092764": "1000311"}
    assert (found.of, found.source) == ("track", "aliases:ids")
    assert sorted((str(row["raw"]), row["reason"]) for row in found.rejects.collect()) == [
        ("\t5", "empty_alias"),
        ("1095122\t", "empty_alias"),
        ("7\t7", "alias_of_itself"),
        ("None", "wrong_columns"),
    ]


@pytest.mark.parametrize("header", ["alias,track_id", "bad_id,good_id", "old id,New ID", "from,to"])
def test_columns_are_guessed(read, header):
    assert pairs_of(read(f"{header}\na,b\n", "ids.csv").pairs) == {"a": "b"}


def test_columns_that_are_not_recognised_are_asked_for(read):
    with pytest.raises(
        SettingsError, match=r"no column looks like the alias; set catalogue.aliases\[ids\].columns.alias"
    ):
        read("x,track_id\na,b\n", "ids.csv")


def test_an_alias_of_an_alias_stands_for_the_last_of_them(listed, staging):
    chain = [(f"t{n}", f"t{n + 1}") for n in range(7)]
    lists = [listed(*chain[:4]), listed(*chain[4:], ("t0", "t9")), listed(("t6", "artist"), of="artist")]
    assert pairs_of(resolved(lists, "track", staging)) == {f"t{n}": "t7" for n in range(7)}
    assert pairs_of(resolved(lists, "artist", staging)) == {"t6": "artist"}
    assert resolved(lists[:2], "artist", staging) is None


@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_circle_is_an_error_that_names_some_of_it(listed, staging, length):
    circle = [(f"t{n}", f"t{(n + 1) % length}") for n in range(length)]
    with pytest.raises(DataCheckError, match=r"aliases of tracks lead in a circle, by t\d, t\d"):
        resolved([listed(*circle, ("tail", "t0"), ("other", "end"))], "track", staging)


def test_every_alias_is_followed_to_its_end(listed, staging):
    """A forest of 400 ids: steps to smaller numbers can't be circular."""
    rng = random.Random(1)
    steps = {number: rng.randrange(max(0, number - 9), number) for number in range(1, 400) if rng.random() < 0.9}

    def end(number):
        return end(steps[number]) if number in steps else number

    found = pairs_of(resolved([listed(*((f"{key}", f"{value}") for key, value in steps.items()))], "track", staging))
    assert found == {f"{key}": f"{end(key)}" for key in steps}


@pytest.fixture
def merged(spark, staging, tmp_path):
    """Merge a catalogue that knows the dead id and the artist's dead id, a log of both ids, and the aliases."""

    def run(
        known=(),
        only_played=False,
        played=(("dead", "In the log", None, None),),
        more="",
        aliases=(("dead", "good"), ("unseen", "unknown")),
    ):
        path = tmp_path / "cat.csv"
        path.write_text(f"track_id,title,artist_id,year\ndead,Song,old,1999\nother,Other,old,2000\n{more}")
        catalogue = read_catalogue(staging, CatalogueSource(path=str(path)), DAY, NOW, 10)
        rows = spark.createDataFrame(list(known), TRACKS.schema)
        return merge_tracks(
            rows,
            [catalogue],
            small_frame(spark, played, PLAYED),
            only_played,
            staging,
            small_frame(spark, list(aliases), PAIR),
            small_frame(spark, [("old", "new")], PAIR),
        )

    return run


def test_what_is_said_of_an_alias_is_said_of_its_track(merged):
    found = {row["track_id"]: row for row in merged().collect()}
    assert {key: row["alias_of"] for key, row in found.items()} == {"dead": "good", "good": None, "other": None}
    assert {(row["title"], row["artist_id"], row["release_year"]) for row in found.values()} == {
        ("Song", "new", 1999),
        ("Other", "new", 2000),
    }
    assert found["good"]["origins"] == {"title": "alias", "artist_id": "alias", "release_year": "alias"}


def test_what_a_source_says_of_a_track_counts_before_what_it_says_of_its_alias(merged):
    own = "good,Zest of Life,other artist,2001\n"
    found = {row["track_id"]: row for row in merged(more=own).collect()}["good"]
    assert (found["title"], found["artist_id"], found["release_year"]) == ("Zest of Life", "other artist", 2001)
    # A less trusted source, here the log, only fills what is missing.
    named = [("dead", None, None, None), ("good", "Called in the log", None, None)]
    found = {row["track_id"]: row for row in merged(played=named).collect()}["good"]
    assert (found["title"], found["origins"]["title"]) == ("Song", "alias")


def test_an_alias_that_is_none_any_more_leaves_nothing_in_its_track(merged):
    played = [("dead", None, None, None), ("good", "Called in the log", None, None)]
    rows = [{**row.asDict(recursive=True), "track_idx": n} for n, row in enumerate(merged(played=played).collect())]
    known = [tuple(row[column.name] for column in TRACKS.columns) for row in rows]
    found = {
        row["track_id"]: row
        for row in merged(known=known, played=[("good", "Called in the log", None, None)], aliases=[]).collect()
    }
    assert (found["good"]["title"], found["good"]["artist_id"], found["good"]["release_year"]) == (
        "Called in the log",
        None,
        None,
    )
    assert (found["dead"]["title"], found["dead"]["alias_of"]) == ("Song", None)


def test_the_track_of_a_played_alias_counts_as_played(merged):
    assert {row["track_id"] for row in merged(only_played=True).collect()} == {"dead", "good"}


def test_merging_again_changes_nothing(merged, staging):
    first = merged()
    rows = [{**row.asDict(recursive=True), "track_idx": number} for number, row in enumerate(first.collect())]
    again = merged(known=[tuple(row[column.name] for column in TRACKS.columns) for row in rows], played=())
    assert sorted(map(str, again.collect())) == sorted(map(str, first.collect()))


def test_plays_of_an_alias_are_plays_of_its_track(spark):
    tracks = small_frame(
        spark,
        [("dead", 0, "good"), ("good", 1, None), ("other", 2, None)],
        "track_id string, track_idx int, alias_of string",
    )
    plays = small_frame(
        spark,
        [("u", "dead", 2, NOW), ("u", "good", 3, None), ("u", "other", 4, None), ("v", "dead", 5, None)],
        "user_id string, track_id string, play_count bigint, played_at timestamp",
    )
    users = small_frame(spark, [("u", 0), ("v", 1)], "user_id string, user_idx int")
    summed = {
        (row["user_idx"], row["track_idx"]): row["play_count"] for row in sum_plays(plays, users, tracks).collect()
    }
    assert summed == {(0, 1): 5, (0, 2): 4, (1, 1): 5}
    assert {row["track_id"] for row in without_aliases(tracks).collect()} == {"good", "other"}
    assert pairs_index(indices(tracks)) == {"dead": 1, "good": 1, "other": 2}


def pairs_index(frame):
    return {row["track_id"]: row["track_idx"] for row in frame.collect()}
