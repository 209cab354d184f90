"""Test reading valid and faulty files of every format into one schema, and the independent count of records."""

import datetime as dt
import gzip
import hashlib
import uuid
from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from etude.config import load_settings
from etude.errors import DataCheckError
from etude.listening.columns import LOG_ROLES, LOG_SECTION, resolve, wanted_columns
from etude.listening.files import first_layout, list_files, take_files
from etude.listening.formats import log_format
from etude.listening.identity import Pads
from etude.listening.records import count_records, read_records, reading_files

DAY = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


@pytest.fixture
def read(spark, tmp_path):
    """Write files into a folder and read them; return rows as dicts, and the independent count of records."""

    def run(files, *overrides, pads=None):
        folder = tmp_path / "log"
        folder.mkdir()
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pa.Table):
                pq.write_table(content, path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        settings = load_settings([], [f"listening.{each}" for each in overrides]).listening
        form, columns = log_format(settings)
        listed = list_files(spark, str(folder), DAY)
        taken = take_files(spark, listed, form, None, DAY, NOW)
        wanted = wanted_columns(LOG_SECTION, "log", columns, first_layout(listed, form), form.kind == "json")
        places = resolve(wanted, {file.name: file.layout for file in taken.read})
        with reading_files(spark):
            rows = read_records(spark, taken.read, places, form, LOG_ROLES, pads)
            rows = rows.withColumn("file", F.split("file", "@")[0])
            return [row.asDict() for row in rows.collect()], count_records(spark, taken.read, form)

    return run


def fields(rows, *names):
    return sorted(tuple(row[name] for name in names) for row in rows)


def key(row):
    return tuple(str(value) for value in row)


def test_delimited_files_that_lie(read):
    lines = [
        b"user,track,n",
        b"u1,t1,3",
        b'u2,"t,""2""",4',
        b"",
        b"u3,t\xff3,5",
        b"u4,t4",
        b"u5,t5,6,7",
        b'"u6,t6,1',
        b"u\x007,t7,1",
        b"user,track,n",
        b"u8,back\\slash\\,1",
    ]
    rows, count = read({"log.csv": b"\xef\xbb\xbf" + b"\r\n".join(lines)}, "columns={user: user, track: track}")
    found = sorted(((row["fault"], row["user"], row["track"], row["shown"]) for row in rows), key=key)
    expected = [
        (None, "u1", "t1", "t1,3"),
        (None, "u2", 't,"2"', '"t,""2""",4'),
        (None, "u8", "back\\slash\\", "back\\slash\\,1"),
        ("encoding", "u3", "t\ufffd3", "t\ufffd3,5"),
        ("encoding", "u\x007", "t7", "t7,1"),
        ("header", "user", "track", "track,n"),
        ("header", "user", "track", "track,n"),
        ("wrong_columns", "u4", "t4", None),
        ("wrong_columns", "u5", "t5", None),
        ("wrong_columns", "u6,t6,1", None, None),
    ]
    assert found == sorted(expected, key=key)
    assert count == len(rows) - 1  # one of the two headers is the file's


def test_files_with_columns_in_another_order_or_more_of_them(read):
    files = {
        "2026/a.csv": "user,track,n\nu1,t1,1\n",
        "2026/b.csv": "mood,n,user,track\nglad,2,u2,t2\n",
        "c.csv.gz": gzip.compress(b"track;user;n\nt3;u3;3\n"),
    }
    rows, count = read(files, "columns={user: user, track: track, play_count: n}")
    plays = [row for row in rows if row["fault"] is None]
    assert fields(plays, "file", "user", "track", "play_count") == [
        ("log/2026/a.csv", "u1", "t1", "1"),
        ("log/2026/b.csv", "u2", "t2", "2"),
        ("log/c.csv.gz", "u3", "t3", "3"),
    ]
    assert count == 3


def test_tab_separated_without_header_and_quotes_that_are_none(read):
    text = 'u\tt\t1\nu\t"Heroes\t2\nu\tt 3 \t3\n'
    rows, count = read({"log.tsv": text}, "format=taste-profile")
    assert fields(rows, "fault", "track", "shown") == [
        (None, '"Heroes', '"Heroes\t2'),
        (None, "t", "t\t1"),
        (None, "t 3 ", "t 3 \t3"),
    ]
    raws = {
        int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big", signed=True) for line in text.splitlines()
    }
    assert {row["record"] for row in rows} == raws
    assert count == 3


def test_latin_1_where_it_is_said(read):
    rows, _ = read({"log.csv": "user,track\né,t\n".encode("latin-1")}, "encoding=iso-8859-1")
    assert [row["user"] for row in rows if row["fault"] is None] == ["é"]


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-15", "windows-1251", "koi8-r"])
@pytest.mark.parametrize("multi_line", ["false", "true"])
def test_any_character_set_of_single_bytes(read, encoding, multi_line):
    name = {"windows-1252": "€uro “x”", "iso-8859-15": "œuf €", "windows-1251": "Привет", "koi8-r": "Привет"}[encoding]
    text = f"user,track\n{name},t\n".encode(encoding)
    rows, _ = read({"log.csv": text}, f"encoding={encoding}", f"multi_line={multi_line}")
    assert [row["user"] for row in rows if row["fault"] is None] == [name]


def test_bytes_that_a_character_set_lacks_are_faulty(read):
    rows, _ = read({"log.csv": b"user,track\n\x81,t\nu,t\n"}, "encoding=windows-1252")
    assert sorted(str(row["fault"]) for row in rows) == ["None", "encoding", "header"]


def test_blanks_before_quotes_and_quoted_tabs(read):
    files = {"a.csv": 'user, track\nu1, "t1"\n "u2" , t2\n', "b.tsv": '"user"\t"track"\n"u3"\t"t\t3"\n'}
    rows, count = read(files)
    plays = [(row["user"].strip(), row["track"].strip()) for row in rows if row["fault"] is None]
    assert sorted(plays) == [("u1", "t1"), ("u2", "t2"), ("u3", "t\t3")] and count == 3


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_lines_above_the_limit_are_faults_and_the_others_are_read(read, pack, end):
    def line(size):
        return b"u%d,t,%s" % (size, b"x" * (size - len(b"u%d,t," % size)))

    sizes = [1000, *range(1010, 1050), 5_000_000, 1001]
    content = end.join([b"user,track,more", *map(line, sizes), b""])
    rows, count = read({"log.csv" if pack is bytes else "log.csv.gz": pack(content)}, "max_record_bytes=1024")
    faults = [row["fault"] for row in rows if row["fault"] != "header"]
    assert faults.count("too_long") == len([size for size in sizes if size > 1024])
    assert faults.count(None) == len([size for size in sizes if size <= 1024])
    assert count == len(faults) == len(sizes)
    shown = {row["shown"] for row in rows if row["fault"] == "too_long"}
    assert len(shown) == faults.count("too_long") and any("a line of 5000000 bytes" in text for text in shown)


@pytest.mark.parametrize("form", ["json", "delimited"])
def test_a_file_of_one_long_line_is_a_fault_and_no_lost_file(read, form):
    files = {"a": b"x" * 3_000_000, "b": b'{"user": "u", "track": "t"}\n' if form == "json" else b"user,track\nu,t\n"}
    rows, count = (
        read(files, f"format={form}", "columns={user: user, track: track}")
        if form == "json"
        else read({"z.csv": b"user,track\n" + files["a"], "b.csv": files["b"]})
    )
    assert [row["fault"] for row in rows if row["fault"] != "header"].count("too_long") == 1 and count == 2


def test_a_record_of_several_lines_above_the_limit_is_a_fault(read):
    text = 'user,track\nu,t\nv,"unclosed\n' + "x,y\n" * 1000
    rows, count = read({"log.csv": text}, "multi_line=true", "max_record_bytes=1024")
    assert sorted(str(row["fault"]) for row in rows) == ["None", "header", "too_long"] and count == 2
    assert [row["shown"] for row in rows if row["fault"] == "too_long"] == [None]


def test_null_words_are_no_values_in_any_format(read):
    words = ["\\N", "NULL", "null", "nan", "None", "NaN", " NULL ", "n/a", "Nan"]
    text = "user,track\n" + "".join(f"{word},t\n" for word in words)
    rows, _ = read({"log.csv": text})
    found = [row["user"] for row in rows if row["fault"] is None]
    assert sorted(map(str, found)) == sorted(["None"] * 7 + ["n/a", "Nan"])


def test_null_words_can_be_set_and_hold_for_parquet(read):
    table = pa.table({"user": ["-", "nan", "u"], "track": ["t"] * 3})
    rows, _ = read({"a.parquet": table}, "format=parquet", "null_words=[-]")
    assert sorted(map(str, (row["user"] for row in rows))) == ["None", "nan", "u"]


def test_unix_times_and_counts_are_alike_in_every_format(read):
    table = pa.table({"user": ["u"], "track": ["t"], "ts": [1714557600.25], "plays": [3.0]})
    rows, _ = read({"a.parquet": table}, "format=parquet")
    assert [(row["played_at"], row["play_count"]) for row in rows] == [("1.71455760025E9", "3.0")]


def test_bytes_of_a_fixed_number_are_ids_and_no_two_are_one(read):
    ids = [uuid.UUID(int=n << 100) for n in (1, 2, 3)]
    of_uuid = pa.array([each.bytes for each in ids], pa.binary(16))
    of_four = pa.array([b"\xff\xfe\x00\x01"] * 3, pa.binary(4))
    rows, _ = read({"a.parquet": pa.table({"user": of_uuid, "track": of_four})}, "format=parquet")
    assert sorted(row["user"] for row in rows) == sorted(map(str, ids))
    assert {row["track"] for row in rows} == {"fffe0001"} and {row["fault"] for row in rows} == {None}


def test_bytes_that_are_not_text_are_faulty_and_texts_as_bytes_are_read(read):
    table = pa.table({"user": pa.array([b"u", b"\xff\xfe", b"\xfe\xff"]), "track": ["t"] * 3})
    rows, _ = read({"a.parquet": table}, "format=parquet")
    assert sorted(str(row["fault"]) for row in rows) == ["None", "encoding", "encoding"]


def test_columns_that_spark_refuses_do_no_harm_unless_they_are_asked_for(read):
    table = pa.table(
        {"user": ["u"], "track": ["t"], "clock": pa.array([dt.time(1)]), "half": pa.array([1], pa.duration("s"))}
    )
    rows, count = read({"a.parquet": table}, "format=parquet")
    assert [row["user"] for row in rows] == ["u"] and count == 1


def test_a_column_that_spark_refuses_is_named_if_it_is_asked_for(read):
    table = pa.table({"user": ["u"], "track": ["t"], "clock": pa.array([dt.time(1)])})
    with pytest.raises(DataCheckError, match="column 'clock' is Parquet's TIME; played_at needs"):
        read({"a.parquet": table}, "format=parquet", "columns={user: user, track: track, played_at: clock}")


def test_parquet_columns_that_differ_in_case_only_are_told_apart(read):
    table = pa.table({"user_id": ["u"], "USER_ID": ["x"], "track": ["t"]})
    rows, _ = read({"a.parquet": table}, "format=parquet", "columns={user: USER_ID, track: track}")
    assert [row["user"] for row in rows] == ["x"]


@pytest.mark.parametrize("form", ["delimited", "parquet", "json"])
def test_columns_in_names_of_folders_are_read_and_equal_files_of_two_days_are_two(read, form):
    content = {
        "delimited": "user,track\nu,t\n",
        "parquet": pa.table({"user": ["u"], "track": ["t"]}),
        "json": '{"user": "u", "track": "t"}\n',
    }[form]
    days = ["2026-01-01", "2026-01-02", "__HIVE_DEFAULT_PARTITION__"]
    rows, count = read({f"date={day}/part-0": content for day in days}, f"format={form}")
    plays = [row for row in rows if row["fault"] is None]
    assert fields(plays, "user") == [("u",)] * 3 and count == 3
    assert sorted(str(row["played_at"]) for row in plays) == ["2026-01-01", "2026-01-02", "None"]


def test_users_in_names_of_folders_are_unescaped(read):
    rows, _ = read({"user_id=a%2Fb/x.csv": "track\nt\n", "user_id=c/x.csv": "track\nt\n"})
    assert fields([row for row in rows if row["fault"] is None], "user", "track") == [("a/b", "t"), ("c", "t")]


def test_names_with_colons_are_read(read):
    rows, count = read({"plays-2024-05-01T10:00:00.csv": "user,track\nu,t\n", "b.csv": "user,track\nv,t\n"})
    assert sorted(row["user"] for row in rows if row["fault"] is None) == ["u", "v"] and count == 2


def test_line_breaks_inside_quotes(read):
    text = '\ufeffuser,track,title\nu1,t1,"two\nlines"\n"user",track,title\nu2,t2,"a ""b"""\nu3,t3\nu4,t\ufffd,x\n'
    rows, count = read({"log.csv": text}, "multi_line=true")
    assert sorted(((row["fault"], row["user"], row["title"]) for row in rows), key=key) == [
        (None, "u1", "two\nlines"),
        (None, "u2", 'a "b"'),
        ("encoding", "u4", "x"),
        ("header", "user", "title"),
        ("header", "user", "title"),
        ("wrong_columns", "u3", None),
    ]
    assert len({row["record"] for row in rows if row["fault"] == "header"}) == 1
    assert count == len(rows) - 1


def test_json_lines_that_lie(read):
    lines = [
        b'{"user_id": "u1", "track_id": "t1", "played_at": 1241478537, "extra": {"a": [1]}}',
        b'{"user_id": 2, "played_at": null}',
        b'{"user_id": "u3"',
        b'{"user_id": "u4"} {"user_id": "u5"}',
        b'[{"user_id": "u6"}]',
        b"7",
        b'{"user_id": "u\xff8", "track_id": "t"}',
        b"",
    ]
    rows, count = read({"log.json": b"\n".join(lines)}, "format=edge-events")
    found = sorted(((row["fault"], row["user"], row["track"], row["played_at"], row["shown"]) for row in rows), key=key)
    assert found == [
        (None, "2", None, None, '{"played_at":null}'),
        (None, "u1", "t1", "1241478537", '{"track_id":"t1","played_at":"1241478537","extra":"{\\"a\\":[1]}"}'),
        ("encoding", "u\ufffd8", "t", None, '{"track_id":"t"}'),
        *[("malformed", None, None, None, None)] * 4,
    ]
    assert count == len(rows)


def test_parquet_of_several_types(read):
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    files = {
        "a.parquet": pa.table({"user_id": [1], "track_id": ["t"], "count": [3], "more": [[1]]}),
        "b.parquet": pa.table({"count": [2.0], "track_id": ["t"], "user_id": ["u"]}),
        "c.parquet": pa.table(
            {"user_id": ["u"], "track_id": pa.array([b"t\xff"]).cast(pa.string(), safe=False), "count": [1]}
        ),
    }
    rows, count = read(files, "format=parquet")
    assert sorted(((row["fault"], row["user"], row["play_count"], row["shown"]) for row in rows), key=key) == [
        (None, "1", "3", '{"count":"3","track_id":"t"}'),
        (None, "u", "2.0", '{"count":"2.0","track_id":"t"}'),
        ("encoding", "u", "1", '{"count":"1","track_id":"t\ufffd"}'),
    ]
    assert count == 3 and at


def test_parquet_times_are_read_in_every_unit_and_as_text(read):
    moment = datetime(2026, 1, 1, 12)
    files = {
        f"{unit}.parquet": pa.table({"user": ["u"], "track": [unit], "ts": pa.array([moment], pa.timestamp(unit))})
        for unit in ("ms", "us", "ns")
    }
    files["text.parquet"] = pa.table({"user": ["u"], "track": ["text"], "ts": ["2026-01-01T12:00:00Z"]})
    rows, _ = read(files, "format=parquet")
    found = {row["track"]: row["played_at_typed"] or row["played_at"] for row in rows}
    utc = moment.replace(tzinfo=timezone.utc)
    local = utc.astimezone().replace(tzinfo=None)
    nanoseconds = str(int(utc.timestamp()) * 10**9)
    assert found == {"ms": local, "us": local, "ns": nanoseconds, "text": "2026-01-01T12:00:00Z"}


def test_a_parquet_column_of_no_use_is_refused(read):
    with pytest.raises(DataCheckError, match=r"column 'user_id' is array<bigint>; user needs a string or an integer"):
        read({"a.parquet": pa.table({"user_id": [[1]], "track_id": ["t"]})}, "format=parquet")


@pytest.mark.parametrize(
    ("content", "overrides", "shown"),
    [
        ("user_id,email,track,ts,event_id\nalice,alice@x.org,t,never,alice-1\n", (), "t,never"),
        ('user_id,mail,track\nalice,"alice\nx",t\n', ("multi_line=true",), "t"),
        (
            '{"user_id": "alice", "mail": "alice", "event_id": "alice-1", "track": "t"}\n',
            ("format=json",),
            '{"track":"t"}',
        ),
        (
            pa.table({"user_id": ["alice"], "event_id": ["alice-1"], "track": ["t"]}),
            ("format=parquet",),
            '{"track":"t"}',
        ),
        ("alice,t,alice@x.org\n", ("columns={user: 0, track: 1}",), "t"),
    ],
    ids=["delimited", "lines", "json", "parquet", "positions"],
)
def test_under_a_key_only_columns_of_known_use_are_shown(read, content, overrides, shown):
    """Check that other columns, which may identify the user, are hidden; without a key only the user's column is."""
    files = {"log.parquet" if isinstance(content, pa.Table) else "log.csv": content}
    rows, _ = read(files, *overrides, pads=Pads.of(b"secret"))
    assert [row["shown"] for row in rows if row["fault"] is None] == [shown]


def test_json_files_are_grouped_by_what_is_asked_not_by_the_keys_of_their_first_lines(read):
    files = {f"{n}.json": f'{{"k{n}": 1, "user_id": "u{n}", "track_id": "t"}}\n' for n in range(3)}
    rows, count = read(files, "format=edge-events")
    assert sorted(row["user"] for row in rows) == ["u0", "u1", "u2"] and count == 3


def test_settings_of_the_session_are_as_before_once_files_have_been_read(spark, read):
    read({"a.parquet": pa.table({"user_id": ["u"], "track_id": ["t"]})}, "format=parquet")
    assert spark.conf.get("spark.sql.legacy.parquet.nanosAsLong") == "false"


def test_under_a_key_record_hashes_are_keyed(read):
    rows, _ = read({"log.tsv": "u\tt\t1\n"}, "format=taste-profile", pads=Pads.of(b"secret"))
    plain = int.from_bytes(hashlib.sha256(b"u\tt\t1").digest()[:8], "big", signed=True)
    assert rows[0]["record"] != plain


def test_a_file_from_which_spark_reads_nothing_is_an_error_and_not_an_empty_log(spark, tmp_path):
    """A decompressor that doesn't know a file's framing reads nothing from it, and says nothing."""
    path = tmp_path / "a.csv"
    path.write_text("track,user\nt,u\n")
    form, _ = log_format(load_settings().listening)
    taken = take_files(spark, list_files(spark, str(path), DAY), form, None, DAY, NOW)
    assert count_records(spark, taken.read, form) == 1
    path.write_bytes(b"")
    with pytest.raises(DataCheckError, match=r"a\.csv.*15 bytes and Spark reads no record"):
        count_records(spark, taken.read, form)


def test_a_file_of_blank_lines_beside_others_is_no_error(read):
    rows, counted = read({"a.csv": "track,user\nt,u\n", "b.csv": "\n\n"})
    assert (len(rows), counted) == (2, 1)
