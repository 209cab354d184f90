"""Test the layout inferred from a file's first lines, and the detection of mislabelled files."""

import bz2
import gzip
import hashlib
import hmac

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etude.listening.formats import FileFormat
from etude.listening.look import content_hash, find_layout, look_at

CSV = FileFormat("delimited")
HEADLESS = FileFormat("delimited", header=False)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path.as_uri()

    return write


@pytest.mark.parametrize(
    ("text", "delimiter"), [("a,b,c\n", ","), ("a\tb,x\tc\n", "\t"), ("a;b;c\n", ";"), ("a|b|c\n", "|"), ("a\n", "\t")]
)
def test_the_delimiter_is_the_one_that_the_first_line_holds_most_of(file, text, delimiter):
    assert find_layout(file("log", text), CSV).delimiter == delimiter


def test_names_come_from_the_header_whatever_its_line_ends_mark_or_quotes(file):
    found = find_layout(file("log.csv", b'\xef\xbb\xbfuser, "the ""track""",n\r\nu,t,1\r\n'), CSV)
    assert found.names == ("user", 'the "track"', "n")
    assert found.header == 'user, "the ""track""",n'


@pytest.mark.parametrize(
    ("text", "delimiter", "width"),
    [
        ("u\t1\tFoo, Bar, Baz, Qux\tTune\nv\t2\tFoo\tTune\n", "\t", 4),
        ("u;t;1,5\nv;t;2,25\n", ";", 3),
        ('u,"a;b;c;d",1\nv,t,1\n', ",", 3),
        ("u,a|b|c|d,1\nv,a,1\n", ",", 3),
    ],
)
def test_the_separator_gives_all_records_equally_many_columns(file, text, delimiter, width):
    found = find_layout(file("log", text), HEADLESS)
    assert (found.delimiter, found.width) == (delimiter, width)


def test_tabs_come_with_quotes_if_a_column_is_quoted_throughout(file):
    found = find_layout(file("log.tsv", '"user"\t"track"\t"n"\n"u"\t"t\tx"\t1\n'), CSV)
    assert (found.names, found.quote) == (("user", "track", "n"), '"')
    assert find_layout(file("log.tsv", 'user\ttitle\nu\t"Heroes"\nv\tLow\n'), CSV).quote == ""


def test_columns_of_times_are_known_by_their_values_and_types(file, tmp_path):
    text = "user,when,on,year,n\nu,2026-01-01T00:00:00Z,01/02/2026,2026,123456789\nv,,3.4.2026,2026,5\n"
    assert find_layout(file("log", text), CSV).times == ("when", "on")
    uri = file("log.json", '{"a": "2026-01-01 10:00:00", "b": 5}\n{"a": "2026-01-02", "b": "x"}\n')
    assert find_layout(uri, FileFormat("json")).times == ("a",)
    pq.write_table(pa.table({"a": pa.array([1], pa.timestamp("us")), "b": [1]}), tmp_path / "a.parquet")
    assert find_layout((tmp_path / "a.parquet").as_uri(), FileFormat("parquet")).times == ("a",)


def test_a_long_record_in_quotes_is_no_error(file):
    text = 'user,title\nu,"' + "x" * 200_000 + '"\n'
    assert find_layout(file("log", text), FileFormat("delimited", multi_line=True)).names == ("user", "title")


def test_without_header_the_width_is_the_most_common_one(file):
    assert find_layout(file("log", "a,b\n1,2,3\n4,5,6\n"), HEADLESS).width == 3
    assert find_layout(file("log", 'x,"unclosed\n1,2,3\n4,5,6\n'), HEADLESS).width == 3


def test_ragged_files_are_as_wide_as_their_widest_row(file):
    ragged = FileFormat("delimited", header=False, delimiter="\t", ragged=True, width=2)
    assert find_layout(file("log", "a\nb\tc\td\ne\n"), ragged).width == 3
    assert find_layout(file("log", "a\nb\n"), ragged).width == 2


def test_tabs_come_without_quoting(file):
    assert find_layout(file("log.tsv", 'a\tb\n"x\ty\n'), CSV).quote == ""


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files_are_looked_into(file, suffix, pack):
    assert find_layout(file(f"log.csv{suffix}", pack(b"user,track\nu,t\n")), CSV).names == ("user", "track")


def test_json_keys_are_gathered_from_the_first_lines(file):
    uri = file("log.json", '{"user": 1, "track": "t"}\nnot json\n[1]\n{"user": 2, "n": 3}\n')
    assert find_layout(uri, FileFormat("json")).names == ("user", "track", "n")


def test_parquet_columns_come_with_their_types(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user": ["u"], "n": [1]}), path)
    found = find_layout(path.as_uri(), FileFormat("parquet"))
    assert (found.names, found.types) == (("user", "n"), ("string", "bigint"))


@pytest.mark.parametrize(
    ("name", "content", "form", "problem"),
    [
        ("log.csv", gzip.compress(b"a,b\n"), CSV, r"gzip-compressed.*\.gz"),
        ("log.csv.gz", b"a,b\nc,d\n", CSV, ""),
        ("log.csv", b"PK\x03\x04rest", CSV, "zip archive"),
        ("log.csv", b"PAR1rest", CSV, "Parquet"),
        ("log.parquet", b"a,b\n", FileFormat("parquet"), "not a Parquet file"),
        ("log.parquet", b"PAR1 but cut off", FileFormat("parquet"), ""),
        ("log.csv", "a,b\n".encode("utf-16"), CSV, "UTF-16"),
    ],
    ids=["gzip", "plain-as-gzip", "zip", "parquet-as-csv", "csv-as-parquet", "torn-parquet", "utf-16"],
)
def test_a_file_in_disguise_is_a_problem_and_not_a_crash(file, name, content, form, problem):
    import re

    seen = look_at(file(name, content), form, None)
    assert seen.problem is not None and re.search(problem, seen.problem)


def test_content_is_known_by_its_hash_and_under_a_key_by_an_hmac(file, monkeypatch):
    monkeypatch.setattr("etude.listening.look._CHUNK", 7)
    data = b"user\ttrack\n" * 10
    assert content_hash(file("log.gz", data), None) == hashlib.sha256(data).hexdigest()
    assert content_hash(file("log", data), b"secret") == hmac.new(b"secret", data, hashlib.sha256).hexdigest()
