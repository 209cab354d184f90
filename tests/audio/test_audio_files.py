import os
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from pyarrow import fs

from etude import storage
from etude.audio.files import Found, Place, as_text, fetch, file_uri, find, list_folder, local_path, normal_uri
from etude.audio.refusal import RefusedError


@pytest.fixture
def folder(tmp_path):
    """Write music/a.wav and music/deep/b.ogg, with secret.wav outside the folder."""
    music = tmp_path / "music"
    (music / "deep").mkdir(parents=True)
    (music / "a.wav").write_bytes(b"12345")
    (music / "deep" / "b.ogg").write_bytes(b"1")
    (tmp_path / "secret.wav").write_bytes(b"x")
    return music


def place(folder, allowed=None):
    return Place(file_uri(str(folder)), allowed)


def reason(path, where):
    with pytest.raises(RefusedError) as caught:
        find(path, where)
    return caught.value.reason


def test_relative_paths_start_from_the_base(folder):
    found = find("deep/../a.wav", place(folder))
    assert found == Found(file_uri(f"{folder}/a.wav"), 5, (folder / "a.wav").stat().st_mtime_ns // 1000)
    assert fetch(found.uri, 9.0) == f"{folder}/a.wav"


@pytest.mark.parametrize("path", ["../secret.wav", "deep/../../secret.wav", "deep/../../../../etc/passwd"])
def test_relative_paths_stay_below_the_base(folder, path):
    assert reason(path, place(folder)) == "outside_root"


def test_absolute_paths_and_uris_are_taken_as_they_are_unless_roots_are_named(folder):
    secret = str(folder.parent / "secret.wav")
    for path in (secret, f"file://{secret}", f"file:{secret}"):
        assert find(path, place(folder)).size == 1
        assert find(path, Place()).size == 1
        assert reason(path, place(folder, ())) == "outside_root"
        assert find(path, place(folder, (file_uri(str(folder.parent)),))).size == 1
    assert find(str(folder / "a.wav"), place(folder, ())).size == 5
    assert reason("a.wav", Place()) == "bad_path"


def test_links_are_followed_before_they_are_judged(folder):
    (folder / "out.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "in.wav").symlink_to("a.wav")
    (folder / "away").symlink_to(folder.parent)
    assert reason("out.wav", place(folder)) == "outside_root"
    assert reason("away/secret.wav", place(folder)) == "outside_root"
    assert find("in.wav", place(folder)).size == 5
    allowed = (folder.parent / "secret.wav", folder.parent)
    assert find("out.wav", place(folder, tuple(file_uri(str(path)) for path in allowed))).size == 1
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    assert find("a.wav", place(linked)).size == 5


def test_what_is_no_file_to_read(folder):
    os.mkfifo(folder / "pipe.wav")
    assert reason("none.wav", place(folder)) == "missing"
    assert reason("a.wav/none.wav", place(folder)) == "missing"
    assert reason("deep", place(folder)) == "not_a_file"
    assert reason("pipe.wav", place(folder)) == "not_a_file"
    assert reason("x" * 300, place(folder)) == "unreadable"
    assert reason("a\0.wav", place(folder)) == "bad_path"
    assert reason("gopher://host/a.wav", place(folder)) == "bad_path"


@pytest.mark.parametrize(
    "path", ["s3://[abc/x.wav", "Mix://[Live] song.mp3", "file:///a%00.wav", "file://[/x.wav", "half a pair \ud800.wav"]
)
def test_what_python_cannot_take_for_a_path_costs_that_row_alone(folder, path):
    assert reason(path, place(folder)) == "bad_path"
    assert reason(path, place(folder, (file_uri("/"),))) == "bad_path"


@pytest.fixture
def remote(folder, monkeypatch):
    """Serve the folder as a bucket, remote://music; calling it with an error makes every call to the bucket fail."""
    system = fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    real = storage.filesystem

    class Failing:
        def __init__(self, error):
            self.error = error

        def __getattr__(self, _):
            raise self.error

    def serve(chosen):
        monkeypatch.setattr(
            storage,
            "filesystem",
            lambda uri: (chosen, unquote(uri.removeprefix("remote://"))) if uri.startswith("remote:") else real(uri),
        )

    serve(system)
    return lambda error: serve(Failing(error))


def test_files_elsewhere_are_found_listed_and_fetched(folder, remote):
    where = Place("remote://music")
    found = find("deep/../a.wav", where)
    assert (found.uri, found.size) == ("remote://music/a.wav", 5)
    assert found.mtime_us == (folder / "a.wav").stat().st_mtime_ns // 1000
    assert fetch(found.uri, 9.0) == b"12345"
    assert find("remote://music/deep/b.ogg", Place()).size == 1
    assert reason("none.wav", where) == "missing"
    assert reason("deep", where) == "not_a_file"
    assert reason("../a.wav", Place("remote://music/deep")) == "outside_root"
    assert reason("remote://music/a.wav", Place("remote://music/deep", ())) == "outside_root"
    assert find("remote://music/a.wav", Place("remote://music/deep", ("remote://music",))).size == 5
    listed = dict(list_folder("remote://music", (".wav", ".ogg"), where))
    assert listed == {"a.wav": found, "deep/b.ogg": find("deep/b.ogg", where)}
    (folder / "album.wav").mkdir()
    assert dict(list_folder("remote://music", (".wav",), where))["album.wav"].reason == "not_a_file"
    with pytest.raises(RefusedError, match="missing: no such file"):
        fetch("remote://music/none.wav", 9.0)


@pytest.mark.usefixtures("remote")
def test_signs_with_a_meaning_in_uris_have_none_in_names(folder):
    names = ["Song #1.wav", "What's up?.wav", "AC%2FDC - x.wav", "a b%20c.wav", "a b c.wav", "caf\xe9;=&+,.wav"]
    for name in names:
        (folder / name).write_bytes(name.encode())
    for base in ("remote://music", file_uri(str(folder))):
        where = Place(base)
        listed = dict(list_folder(base, (".wav",), where))
        for name in names:
            found = find(name, where)
            assert listed[name] == found
            assert storage.read_bytes(found.uri) == name.encode()
            assert find(found.uri, Place()) == found
    for name in names[:2]:
        assert (
            find(f"file://{folder}/{name}", Place()).size == find(f"remote://music/{name}", Place()).size == len(name)
        )
    assert normal_uri("s3://bucket/Best #1 hits") == "s3://bucket/Best #1 hits"


def test_storage_that_fails_is_a_reason_to_try_again(remote, monkeypatch):
    remote(OSError("connection reset"))
    assert reason("remote://music/a.wav", Place()) == "unreadable"
    with pytest.raises(RefusedError, match="unreadable: OSError: connection reset"):
        fetch("remote://music/a.wav", 9.0)

    monkeypatch.setattr(storage, "read_bytes", lambda uri: time.sleep(20))
    with pytest.raises(RefusedError, match=r"timeout: reading took more than 0\.1 s"):
        fetch("remote://music/a.wav", 0.1)

    def lacking(uri):
        raise OSError("Unable to load libhdfs")

    monkeypatch.setattr(storage, "filesystem", lacking)
    assert reason("hdfs://host/x.wav", Place()) == "unreadable"


def test_a_folder_is_listed_with_all_below_it(folder):
    (folder / "deep" / "C.FLAC").write_bytes(b"1")
    (folder / "notes.txt").write_bytes(b"1")
    (folder / ".hidden.wav").write_bytes(b"1")
    listed = dict(list_folder(file_uri(str(folder)), (".wav", ".ogg", ".flac"), place(folder)))
    assert set(listed) == {".hidden.wav", "a.wav", "deep/C.FLAC", "deep/b.ogg"}
    assert listed["a.wav"] == find("a.wav", place(folder))


def test_links_and_odd_things_in_a_folder(folder):
    (folder / "out.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "dangling.wav").symlink_to("nowhere")
    (folder / "in.wav").symlink_to("a.wav")
    (folder / "away").symlink_to(folder.parent)
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.wav")
    os.mkfifo(folder / "pipe")
    listed = dict(list_folder(file_uri(str(folder)), (".wav",), place(folder)))
    told = {name: found.reason if isinstance(found, RefusedError) else found.size for name, found in listed.items()}
    assert told == {
        "a.wav": 5,
        "away": "outside_root",
        "dangling.wav": "missing",
        "in.wav": 5,
        "out.wav": "outside_root",
        "pipe.wav": "not_a_file",
    }


def told(folder, suffixes=(".wav",)):
    listed = dict(list_folder(file_uri(str(folder)), suffixes, place(folder)))
    return {name: found.reason if isinstance(found, RefusedError) else found.size for name, found in listed.items()}


def test_an_odd_entry_costs_that_entry_alone(folder):
    (folder / "album.wav").mkdir()
    (folder / "album.wav" / "1.wav").write_bytes(b"12")
    (folder / "itself.wav").symlink_to("itself.wav")
    (folder / "one.wav").symlink_to("other.wav")
    (folder / "other.wav").symlink_to("one.wav")
    (folder / "below_a_file.wav").symlink_to("a.wav/x.wav")
    (folder / "linked.wav").symlink_to("deep")
    (folder / "null.wav").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.wav"))
    assert told(folder) == {
        "a.wav": 5,
        "album.wav": "not_a_file",
        "album.wav/1.wav": 2,
        "below_a_file.wav": "missing",
        "itself.wav": "unreadable",
        "linked.wav": "not_a_file",
        "null.wav": "not_a_file",
        "one.wav": "unreadable",
        "other.wav": "unreadable",
        "s.wav": "not_a_file",
    }


@pytest.fixture
def deep_folder(folder):
    """Nest 2500 folders, more than a path or Python's stack can name; pytest couldn't remove them."""
    above = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(2500):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
    finally:
        os.chdir(above)
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_folders_deeper_than_a_path_may_be(deep_folder):
    found = told(deep_folder)
    assert found.pop("a.wav") == 5
    (deepest,) = found
    assert found[deepest] == "unreadable"
    assert set(deepest) == {"d", "/"}


def test_what_this_user_may_not_read_costs_that_entry_alone(folder, monkeypatch):
    """The tests may run as root, whom nothing is forbidden."""
    (folder / "into.wav").symlink_to("deep/b.ogg")
    real_scandir, real_stat = os.scandir, Path.stat

    def scandir(path):
        if str(path).rstrip("/").endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    def stat(path, **how):
        if path.name == "into.wav" and how.get("follow_symlinks", True):
            raise PermissionError(13, "Permission denied")
        return real_stat(path, **how)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "stat", stat)
    assert told(folder, (".wav", ".ogg")) == {"a.wav": 5, "deep/": "unreadable", "into.wav": "unreadable"}


def test_names_that_are_no_text_survive_as_uris(folder):
    raw = os.fsencode(folder) + b"/caf\xe9 100%.wav"
    with open(raw, "wb") as file:
        file.write(b"123")
    listed = dict(list_folder(file_uri(str(folder)), (".wav",), place(folder)))
    (name,) = (name for name in listed if name.startswith("caf"))
    assert listed[name].uri.endswith("/caf%E9%20100%25.wav")
    assert os.fsencode(local_path(listed[name].uri)) == raw
    assert as_text(name) == "caf\\xe9 100%.wav"


def test_uris_are_made_normal(tmp_path):
    assert normal_uri(f"{tmp_path}/x/../y/") == file_uri(f"{tmp_path}/y")
    assert normal_uri("s3a://bucket/a/./b/../c") == "s3a://bucket/a/c"
    assert normal_uri("s3a://bucket") == "s3a://bucket"
