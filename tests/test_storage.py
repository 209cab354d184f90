"""Test files by URI."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from etude import storage
from etude.errors import SettingsError


@pytest.mark.parametrize("name", ["plain", "with space", "percent%20sign", "käse#1?", "a'b"])
def test_what_was_written_is_read_back(tmp_path, name):
    uri = storage.join(str(tmp_path), name, "file.bin")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert (tmp_path / name / "file.bin").read_bytes() == b"two"
    assert storage.list_files(storage.join(str(tmp_path), name)) == [uri]


def test_a_failed_write_leaves_the_old_content(tmp_path):
    uri = storage.join(str(tmp_path), "file.bin")
    storage.write_bytes(uri, b"old")
    with pytest.raises(TypeError):
        storage.write_bytes(uri, "text is no bytes")  # type: ignore[arg-type]
    assert storage.read_bytes(uri) == b"old"
    assert storage.list_files(str(tmp_path)) == [uri]


def test_missing_files(tmp_path):
    uri = storage.join(str(tmp_path), "nothing")
    assert not storage.exists(uri)
    storage.delete(uri)
    assert storage.list_files(uri) == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(uri)


def test_delete_takes_folders_whole(tmp_path):
    storage.write_bytes(storage.join(str(tmp_path), "a", "b", "c"), b"")
    storage.delete(storage.join(str(tmp_path), "a"))
    assert not (tmp_path / "a").exists()


def test_uris_of_other_stores_are_left_alone():
    assert storage.to_uri("s3a://bucket/lake/") == "s3a://bucket/lake"
    assert storage.to_uri("file:/tmp/x") == "file:///tmp/x"
    assert storage.to_uri("s3a://bucket/käse #1?") == "s3a://bucket/käse #1?"
    assert storage.join("hdfs://host:9000/lake", "runs") == "hdfs://host:9000/lake/runs"


class Bucket(fs.LocalFileSystem):
    """Stand in for S3, with keys as they are in the bucket."""


@pytest.mark.parametrize("name", ["plain", "with space", "percent%20sign", "käse#1?"])
def test_keys_of_a_bucket_are_literal_and_the_store_is_opened_once(monkeypatch, name):
    opened = []
    monkeypatch.setattr(storage.fs, "S3FileSystem", lambda: opened.append(1) or Bucket())
    storage._system.cache_clear()
    uri = storage.join("s3a://key:secret@bucket/lake", name)
    assert storage.filesystem(uri)[1] == f"bucket/lake/{name}"
    assert storage.filesystem("s3a://bucket/käse#1?")[1] == "bucket/käse#1?"
    storage._system.cache_clear()
    assert opened == [1]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3a://key:secret@bucket/x", "s3a://***@bucket/x"),
        ("s3a://KEY:sec/r+et@bucket/x", "s3a://***@bucket/x"),
        (
            "no lake at 'hdfs://me@host:9000/x', nor at s3://k:s@b",
            "no lake at 'hdfs://***@host:9000/x', nor at s3://***@b",
        ),
        ("hdfs://host:9000/x", "hdfs://host:9000/x"),
        ("file:///home/a@b/x", "file:///home/a@b/x"),
        ("s3a://bucket/a@b/x", "s3a://bucket/a@b/x"),
        ("file:/home/a:b@c", "file:/home/a:b@c"),
        ("s3a:/KEY:se/cret@bucket/x", "s3a:/***@bucket/x"),
        (
            "https://b.s3.amazonaws.com/x?X-Amz-Credential=K%2Fa&X-Amz-Date=2026&X-Amz-Signature=abc",
            "https://b.s3.amazonaws.com/x?X-Amz-Credential=***&X-Amz-Date=2026&X-Amz-Signature=***",
        ),
        ("GET https://b/x?sv=1&sig=ab%3D failed", "GET https://b/x?sv=1&sig=*** failed"),
        ("https://b/x?monkey=1&page=2", "https://b/x?monkey=1&page=2"),
    ],
)
def test_what_people_see_of_a_uri_has_no_credentials(text, masked):
    assert storage.shown(text) == masked


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789+/=", min_size=8, max_size=40)


@given(
    scheme=st.sampled_from(["s3", "s3a", "s3n", "abfss", "https", "ftp"]),
    slashes=st.sampled_from(["/", "//"]),
    key=st.text("ABCDEFGHIJKLMNOP0123456789", min_size=4, max_size=20),
    secret=SECRETS,
    around=st.sampled_from(["{}", "no lake at '{}'", 'open "{}" failed', "{} and {}"]),
)
def test_a_secret_of_any_form_is_masked_wherever_it_stands(scheme, slashes, key, secret, around):
    uri = f"{scheme}:{slashes}{key}:{secret}@bucket/lake"
    told = storage.shown(around.replace("{}", uri))
    assert secret not in told and key not in told
    assert "@bucket/lake" in told


@given(secret=SECRETS, scheme=st.sampled_from(["s3", "s3a"]))
def test_a_secret_with_slashes_is_no_part_of_the_bucket(secret, scheme):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_system", lambda *_: None)
        assert storage.filesystem(f"{scheme}://KEY:{secret}@bucket/lake/a@b")[1] == "bucket/lake/a@b"


@pytest.mark.parametrize("path", ["s3a:/KEY:se/cret@bucket/lake", "s3:bucket/lake", "hdfs:/lake", "abfss:/c@a/lake"])
def test_a_scheme_with_one_slash_is_a_mistake_and_no_local_folder(path):
    with pytest.raises(SettingsError, match="two slashes") as caught:
        storage.to_uri(path)
    assert "cret" not in str(caught.value)


def test_age(tmp_path):
    uri = storage.join(str(tmp_path), "file")
    with pytest.raises(FileNotFoundError):
        storage.age_s(uri)
    storage.write_bytes(uri, b"")
    os.utime(tmp_path / "file", (time.time() - 100,) * 2)
    assert 99 < storage.age_s(uri) < 160
