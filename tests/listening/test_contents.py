"""Files that are something else than their name and the settings say are named for what they are."""

import bz2
import gzip
import io
import lzma
import re
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etude.listening.formats import FileFormat
from etude.listening.look import find_layout, look_at

CSV, JSON = FileFormat("delimited"), FileFormat("json")
TEXT = b"user,track\nu,t\n" * 50


def streamed(codec):
    sink = io.BytesIO()
    with pa.CompressedOutputStream(sink, codec) as out:
        out.write(TEXT)
        out.flush()
        return sink.getvalue()


def tarred(name="day.csv"):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return sink.getvalue()


@pytest.fixture
def look(tmp_path):
    def run(name, content, form=CSV):
        path = tmp_path / name
        path.write_bytes(content)
        return look_at(path.as_uri(), form, None)

    return run


@pytest.mark.parametrize("form", [CSV, JSON], ids=["delimited", "json"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("log.csv.lz4", streamed("lz4"), "lz4-compressed"),
        ("log.csv", streamed("lz4"), "lz4-compressed"),
        ("log.csv.zst", streamed("zstd"), "zstandard-compressed"),
        ("log.csv", streamed("zstd"), "zstandard-compressed"),
        ("log.txt.xz", lzma.compress(TEXT), "xz-compressed"),
        ("framed.snappy", b"\xff\x06\x00\x00sNaPpY\x01" + bytes(40), "snappy-compressed"),
        ("raw.snappy", pa.compress(TEXT, "snappy", asbytes=True), r"ends in \.snappy"),
        ("log.deflate", TEXT, r"ends in \.deflate"),
        ("log.LZ4", TEXT, r"ends in \.lz4"),
        ("log.tar", tarred(), "tar archive"),
        ("log.tar.gz", gzip.compress(tarred()), "tar archive"),
        ("log.tgz.bz2", bz2.compress(tarred()), "tar archive"),
        ("log.7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40), "7z archive"),
        ("log.rar", b"Rar!\x1a\x07\x01\x00" + bytes(40), "rar archive"),
        ("log.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "Excel"),
        ("log.avro", b"Obj\x01\x04" + bytes(40), "Avro"),
        ("log.db", b"SQLite format 3\x00" + bytes(40), "SQLite"),
    ],
)
def test_what_spark_would_misread_is_refused_by_its_name(look, name, content, said, form):
    problem = look(name, content, form).problem
    assert problem is not None and re.search(said, problem)


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        ("user,track\nu,t\n".encode("utf-16"), "utf-8", "UTF-16"),
        ("user,track\nu,t\n".encode("utf-16-le"), "utf-8", "UTF-16"),
        ("user,track\nu,t\n".encode("utf-16-be"), "iso8859-1", "UTF-16"),
        ("user,track\nu,t\n".encode("utf-32-le"), "utf-8", "UTF-16"),
        (b"\xef\xbb\xbfuser,track\nu,t\n", "iso8859-1", "mark of UTF-8.*set encoding=utf-8"),
        (b"\xef\xbb\xbfuser,track\nu,t\n", "cp1252", "mark of UTF-8.*set encoding=utf-8"),
    ],
)
def test_text_in_another_encoding_is_named(look, content, encoding, said):
    problem = look("log.csv", content, FileFormat("delimited", encoding=encoding)).problem
    assert problem is not None and re.search(said, problem) and "\x00" not in problem


@pytest.mark.parametrize(
    "content", ['[\n{"user": "u"},\n{"user": "v"}\n]\n', '[{"user": "u"}]', '{\n  "user": "u"\n}\n', "[\n"]
)
def test_json_that_is_not_an_object_per_line_is_named(look, content):
    problem = look("log.json", content.encode(), JSON).problem
    assert problem is not None and "expected an object per line" in problem


@pytest.mark.parametrize("start", ["BZhang", "ORCHESTRA", "Obj", "LZIP", "Rar!", "7z", "PK"])
def test_text_that_starts_like_one_of_them_is_text(look, start):
    assert look("log.csv", f"{start},track\nu,t\n".encode()).layout.names == (start, "track")


@pytest.mark.parametrize("codec", ["brotli", "zstd", "snappy", "gzip", "lz4", "none"])
def test_parquet_in_a_codec_without_a_reader_in_spark_is_refused(tmp_path, codec):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": ["u"] * 9}), path, compression=codec)
    if codec == "brotli":
        with pytest.raises(ValueError, match="brotli-compressed"):
            find_layout(path.as_uri(), FileFormat("parquet"))
    else:
        assert find_layout(path.as_uri(), FileFormat("parquet")).names == ("user",)
