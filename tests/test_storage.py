"""Files by URI."""

import pytest

from etude import storage


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
    assert storage.join("hdfs://host:9000/lake", "runs") == "hdfs://host:9000/lake/runs"
