"""Test catalogues: one row per track from each source, and the merge of all sources."""

import json
from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etude.config.listening import CatalogueSource
from etude.errors import InputMissingError, SettingsError
from etude.frames import small_frame
from etude.lake.tables import TRACKS
from etude.listening.catalogue import coverage, read_catalogue
from etude.listening.tracks import changed_tracks, merge_tracks

DAY = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
PLAYED = "track_id string, title string, artist string, artist_id string"


@pytest.fixture
def read(staging, tmp_path):
    def run(content, name="cat.csv", max_tags=100, **source):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_text(content)
        return read_catalogue(staging, CatalogueSource(path=str(path), **source), DAY, NOW, max_tags)

    return run


def rows_of(catalogue):
    return {row["track_id"]: row.asDict(recursive=True) for row in catalogue.tracks.collect()}


def tags_of(row):
    return [(tag["tag"], tag["weight"]) for tag in row["tags"] or ()]


def test_a_plain_catalogue_is_guessed_and_its_bad_rows_are_rejects(read):
    lines = ["t1,One,A,1999", "t2,Two,,0", ",No id,,1", "t3,3", "t4,Four,D,99", "t5,Five,E,x", "t6,Six,F,2005.0"]
    catalogue = read("\n".join(["track_id,title,artist,year", *lines]))
    assert catalogue.columns.guessed and catalogue.source == "catalogue:cat"
    found = rows_of(catalogue)
    assert {key: (row["title"], row["artist_name"], row["release_year"]) for key, row in found.items()} == {
        "t1": ("One", "A", 1999),
        "t2": ("Two", None, None),
        "t4": ("Four", "D", None),
        "t5": ("Five", "E", None),
        "t6": ("Six", "F", 2005),
    }
    rejects = {row["reason"]: row.asDict() for row in catalogue.rejects.collect()}
    assert set(rejects) == {"empty_track", "wrong_columns"}
    assert rejects["empty_track"]["raw"] == ",No id,,1" and rejects["empty_track"]["batch_date"] == DAY


def test_a_catalogue_that_is_a_log_shows_no_user_of_it(read):
    catalogue = read("user,track_id,title\nu1,t1,One\nu2,,Two\n")
    assert [row["raw"] for row in catalogue.rejects.collect()] == [",Two"]


def test_tags_from_several_columns_with_weights_and_inside_cells(read):
    source = {
        "columns": {"track": "id", "tags": ["terms", "genre"], "tag_weights": ["freq", "n"]},
        "tag_delimiter": "|",
        "max_tags": 3,
    }
    text = "id,terms,freq,genre,n\na,rock|pop,1|0.5,rock,2\nb,,,jazz,0\nc,x|x|y, ,,\nd,p|q|r|s,4|3|2|1,,\ne,u|v,1,,\n"
    text += "f,x|y|z|w,inf|NaN|2|-inf,,\n"
    found = rows_of(read(text, **source))
    assert tags_of(found["a"]) == [("rock", 3.0), ("pop", 0.5)]
    assert tags_of(found["b"]) == []
    assert tags_of(found["c"]) == [("x", 2.0), ("y", 1.0)]
    assert [tag for tag, _ in tags_of(found["d"])] == ["p", "q", "r"]
    assert tags_of(found["e"]) == [("u", 1.0), ("v", 1.0)]
    assert tags_of(found["f"]) == [("z", 2.0)]


def test_a_row_for_every_tag_and_ragged_rows(read):
    long = read("id\ttag\tcount\na\trock\t3\na\tpop\t1\na\trock\t1\nb\tpop\t1\n", "long.tsv",
                columns={"track": "id", "tags": "tag", "tag_weights": "count"})  # fmt: skip
    assert {key: tags_of(row) for key, row in rows_of(long).items()} == {
        "a": [("rock", 4.0), ("pop", 1.0)],
        "b": [("pop", 1.0)],
    }
    ragged = read("a\tRock\nb\tJazz\tVocal\nc\n", "r.cls", columns={"track": 0, "tags": [1, 2]}, ragged=True)
    assert {key: [tag for tag, _ in tags_of(row)] for key, row in rows_of(ragged).items()} == {
        "a": ["Rock"],
        "b": ["Jazz", "Vocal"],
        "c": [],
    }


def test_parquet_and_json_bring_lists_of_tags(read):
    table = pa.table({"track_id": ["a", "b"], "tags": [["x", "y"], []], "release_year": [2001, 0]})
    found = rows_of(read(table, "c.parquet", format="parquet"))
    assert [tag for tag, _ in tags_of(found["a"])] == ["x", "y"] and found["b"]["release_year"] is None
    line = json.dumps({"track_id": "a", "tags": ["x", "y,z"], "title": "T", "audio_path": "sub dir/a.ogg"})
    row = rows_of(read(line, "c.json", format="json"))["a"]
    assert [tag for tag, _ in tags_of(row)] == ["x", "y,z"]
    assert row["audio_uri"].startswith("file:///") and row["audio_uri"].endswith("/sub%20dir/a.ogg")


def test_of_two_songs_under_one_id_the_most_complete_is_taken_and_the_id_is_counted(spark, read):
    text = "track_id,title,artist,year\na,Zebra,Z,1990\na,Ape,,\nb,Same,S,1\nb,Same,S,1\nc,Y,B,0\nc,X,A,0\n"
    catalogue = read(text)
    assert {key: row["title"] for key, row in rows_of(catalogue).items()} == {"a": "Zebra", "b": "Same", "c": "X"}
    played = small_frame(spark, [("a",), ("a",), ("x",)], "track_id string")
    assert coverage([catalogue], played) == {"cat": {"tracks": 3, "played": 1, "ambiguous": 2}}


def test_mistakes_in_a_source_are_named(staging, read):
    with pytest.raises(SettingsError, match=r"catalogue\.sources\[cat\]\.columns\.title=nam: no such column.*id, name"):
        read("id,name\na,b\n", columns={"track": "id", "title": "nam"})
    with pytest.raises(SettingsError, match="tag_weights: 1 columns for 2"):
        read("id,t,u,n\n", columns={"track": "id", "tags": ["t", "u"], "tag_weights": "n"})
    with pytest.raises(InputMissingError, match="nothing here"):
        read_catalogue(staging, CatalogueSource(path="/nothing here/cat.csv"), DAY, NOW, 100)


@pytest.fixture
def merge(spark, staging):
    """Merge catalogues and played rows into a table of tracks; return the table's new rows."""

    def run(known, catalogues, played, only_played=False):
        table = small_frame(spark, known, TRACKS.schema)
        merged = merge_tracks(table, catalogues, small_frame(spark, played, PLAYED), only_played, staging)
        changed = changed_tracks(merged, table).select(*TRACKS.column_names).collect()
        index = {row["track_id"]: n for n, row in enumerate(sorted(changed, key=lambda row: row["track_id"]))}
        kept = [row for row in known if row[0] not in index]
        numbered = [
            (*row[:-2], len(kept) + index[row[0]] if row[-2] is None else row[-2], row[-1])
            for row in map(tuple, changed)
        ]
        return [*kept, *numbered], {row[0] for row in numbered}

    return run


def by_id(rows):
    return {row[0]: dict(zip(TRACKS.column_names, row, strict=True)) for row in rows}


@pytest.mark.slow
def test_later_sources_fill_what_earlier_ones_lack(read, merge):
    first = read("track_id,title,artist,year\na,One,The Band,0\nb,,,1990\n", "first.csv")
    second = read("track_id,title,artist_id,year,tags\na,Uno,AR1,1980,rock\nb,Two,,1991,\nc,Three,,,\n", "second.csv")
    rows, _ = merge([], [first, second], [("a", "log title", "log artist", None), ("d", "D", "the  BAND", None)])
    found = by_id(rows)
    a = found["a"]
    assert (a["title"], a["artist_name"], a["artist_id"], a["release_year"]) == ("One", "The Band", "AR1", 1980)
    assert (a["tags"], a["tag_weights"]) == (["rock"], [1.0])
    assert a["origins"] == {
        "title": "first",
        "artist_name": "first",
        "artist_id": "second",
        "release_year": "second",
        "tags": "second",
    }
    assert (found["b"]["title"], found["b"]["release_year"], found["b"]["tags"]) == ("Two", 1990, [])
    assert found["d"]["artist_id"] == "AR1"  # the only id of that name, in any spelling
    assert found["d"]["origins"] == {"title": "log", "artist_name": "log", "artist_id": "artist_name"}
    assert found["c"]["artist_id"] is None


def test_artists_without_an_id_meet_under_their_normal_name(merge):
    rows, _ = merge([], [], [("a", "x", "AC/DC", None), ("b", "y", "ac  dc", None), ("c", "z", "Other", None)])
    ids = {key: row["artist_id"] for key, row in by_id(rows).items()}
    assert ids["a"] == ids["b"] != ids["c"]
    assert ids["a"].startswith("name:")


@pytest.mark.slow
def test_merging_again_changes_nothing_and_the_order_of_batches_does_not_matter(read, merge):
    catalogue = read("track_id,title\na,One\n", "cat.csv")
    one, two = (
        [("a", "Eins", "Z", None), ("b", "zwei", "Y", None)],
        [("b", "deux", "X", "I"), ("c", "trois", None, None)],
    )
    rows, changed = merge([], [catalogue], one)
    assert changed == {"a", "b"}
    assert merge(rows, [catalogue], one)[1] == set()
    forth, changed = merge(rows, [catalogue], two)
    assert changed == {"b", "c"}
    back = merge(merge([], [catalogue], two)[0], [catalogue], one)[0]
    compared = [{key: {**row, "track_idx": 0} for key, row in by_id(end).items()} for end in (forth, back)]
    assert compared[0] == compared[1]
    without, changed = merge(forth, [], [])
    assert changed == set() and by_id(without)["a"]["title"] == "One"  # a value from a catalogue stays


@pytest.mark.slow
def test_tracks_of_a_catalogue_that_nobody_played_can_be_left_out(read, merge):
    catalogue = read("track_id,title\na,One\nb,Two\n", "cat.csv")
    assert merge([], [catalogue], [("a", None, None, None)], only_played=True)[1] == {"a"}
    assert merge([], [catalogue], [("a", None, None, None)])[1] == {"a", "b"}
