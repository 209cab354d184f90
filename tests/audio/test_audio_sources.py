import os
from pathlib import Path

import pytest
from pyarrow import fs

from etude import storage
from etude.audio.files import file_uri
from etude.audio.sources import audio_source
from etude.audio.spread import task_count
from etude.config.audio import AudioColumns, AudioSettings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.frames import small_frame


@pytest.fixture
def folder(tmp_path):
    """Write a.wav and deep/b.OGG below a folder whose name has a space and a percent sign."""
    music = tmp_path / "my music 100%"
    (music / "deep").mkdir(parents=True)
    (music / "a.wav").write_bytes(b"12345")
    (music / "deep" / "b.OGG").write_bytes(b"1")
    (music / "note.txt").write_bytes(b"1")
    return music


@pytest.fixture
def files_of(spark):
    def collect(tracks=None, **audio):
        source = audio_source(spark, AudioSettings(**audio), lambda: small_frame(spark, tracks, TRACKS))
        found = {(row["track_id"], row["path"]): row for row in source.files.collect()}
        return source.name, found

    return collect


TRACKS = "track_id string, title string, audio_uri string"


@pytest.mark.slow
def test_a_manifest_is_quoted_csv_with_paths_relative_to_it(files_of, folder):
    lines = ["path,who,id", 'a.wav,"a ""quoted"", name",t 1', '"deep/b.OGG",\\,t2', "none.wav,,t3", ",,t4", "a.wav"]
    (folder / "list.csv").write_text("\n".join(lines))
    columns = AudioColumns(track="id", path="path")
    name, found = files_of(manifest=str(folder / "list.csv"), columns=columns)
    assert name.endswith("/my%20music%20100%25/list.csv")
    row = found["t 1", "a.wav"]
    assert (row["file_size"], row["reason"]) == (5, None)
    assert row["file_mtime_us"] == (folder / "a.wav").stat().st_mtime_ns // 1000
    assert row["audio_uri"].endswith("/my%20music%20100%25/a.wav")
    assert found["t2", "deep/b.OGG"]["file_size"] == 1
    assert found["t3", "none.wav"]["reason"] == "missing"
    assert found["t4", None]["reason"] == found[None, "a.wav"]["reason"] == "bad_row"
    assert len(found) == 5


@pytest.mark.slow
def test_blanks_around_ids_paths_and_names_of_columns_do_not_count(files_of, folder):
    (folder / "list.csv").write_text("track_id, audio_path\nt1\u00a0, a.wav\n t2 ,deep/b.OGG \n , a.wav\n")
    _, found = files_of(manifest=str(folder / "list.csv"))
    assert {key: row["reason"] for key, row in found.items()} == {
        ("t1", "a.wav"): None, ("t2", "deep/b.OGG"): None, (None, "a.wav"): "bad_row",
    }  # fmt: skip


@pytest.mark.slow
def test_the_manifest_comes_before_the_folder_and_the_folder_before_tracks(files_of, folder):
    (folder / "list.csv").write_text("track_id,audio_path\nt,a.wav\n")
    tracks = [("x", "title", str(folder / "a.wav")), ("y", "title", None), ("z", "title", "a.wav")]
    manifest, root = str(folder / "list.csv"), str(folder)
    assert set(files_of(tracks, manifest=manifest, root=root)[1]) == {("t", "a.wav")}
    assert set(files_of(tracks, root=root)[1]) == {("a", "a.wav"), ("deep/b", "deep/b.OGG")}
    name, found = files_of(tracks)
    assert name == "tracks.audio_uri"
    assert {track: row["reason"] for (track, _), row in found.items()} == {"x": None, "z": "bad_path"}


def test_a_folder_may_keep_suffixes_and_choose_them(files_of, folder):
    _, found = files_of(root=str(folder), keep_suffix=True, suffixes=(".txt", ".ogg"))
    assert {track for track, _ in found} == {"deep/b.OGG", "note.txt"}


def test_a_manifest_may_be_a_uri_and_its_path_hold_what_globs_are_made_of(files_of, folder):
    odd = folder.parent / "[Live] {1,2} *"
    folder.rename(odd)
    (odd / "list.csv").write_text("track_id,audio_path\nt,a.wav\n")
    for manifest in (str(odd / "list.csv"), (odd / "list.csv").as_uri(), f"file:{(odd / 'list.csv').as_uri()[7:]}"):
        name, found = files_of(manifest=manifest)
        assert name == file_uri(str(odd / "list.csv"))
        assert found["t", "a.wav"]["file_size"] == 5


def test_a_missing_track_id_has_one_form(files_of):
    _, found = files_of([("", "title", "a.wav"), (None, "title", "b.wav")])
    assert {key: row["reason"] for key, row in found.items()} == {
        (None, "a.wav"): "bad_row",
        (None, "b.wav"): "bad_row",
    }


def test_one_odd_path_costs_one_row(files_of, folder):
    (folder / "list.csv").write_text("track_id,audio_path\nt,a.wav\nu,Mix://[Live] song.wav\nv,file:///a%00.wav\n")
    _, found = files_of(manifest=str(folder / "list.csv"))
    assert {track: row["reason"] for (track, _), row in found.items()} == {"t": None, "u": "bad_path", "v": "bad_path"}


def test_every_slot_gets_files_to_look_up_and_no_task_too_many(spark):
    assert [task_count(spark, files, 100) for files in (0, 1, 2, 150, 201, 1000)] == [1, 1, 2, 2, 3, 10]


def test_paths_that_lead_out_are_refused(files_of, folder, monkeypatch):
    (folder.parent / "secret.wav").write_bytes(b"1")
    (folder / "link.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "list.csv").write_text("track_id,audio_path\nt,../secret.wav\nu,link.wav\n")
    _, found = files_of(manifest=str(folder / "list.csv"))
    assert {row["reason"] for row in found.values()} == {"outside_root"}
    _, found = files_of(root=str(folder))
    assert found["link", "link.wav"]["reason"] == "outside_root"
    _, found = files_of(manifest=str(folder / "list.csv"), allowed_roots=(str(folder.parent),))
    assert found["u", "link.wav"]["reason"] is None
    # The driver resolves a relative root, because executors have other working directories.
    monkeypatch.chdir(folder.parent)
    _, found = files_of(manifest=str(folder / "list.csv"), allowed_roots=(".",))
    assert found["u", "link.wav"]["reason"] is None


def test_a_root_that_is_no_folder_and_a_manifest_that_is_no_file_are_mistakes_in_the_settings(
    files_of, folder, monkeypatch
):
    (folder / "list.csv").write_text("track_id,audio_path\nt,a.wav\n")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "itself").symlink_to("itself")
    os.mkfifo(folder / "pipe")
    for setting, name, said in (
        ("root", "a.wav", "this is a file; expected a folder"),
        ("root", "pipe", "this is a pipe or device; expected a folder"),
        ("root", "dangling", "a link to nowhere, which doesn't exist; expected a folder"),
        ("root", "itself", "Too many levels of symbolic links; expected a folder that can be read"),
        ("root", "a.wav/b", "Not a directory; expected a folder that can be read"),
        ("manifest", "deep", "this is a folder; expected a CSV file"),
        ("manifest", "pipe", "this is a pipe or device; expected a CSV file"),
        ("manifest", "dangling", "a link to nowhere, which doesn't exist; expected a CSV file"),
    ):
        with pytest.raises(SettingsError) as caught:
            files_of(**{setting: str(folder / name)})
        assert str(caught.value) == f"audio.{setting}={folder / name}: {said}"

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(SettingsError, match="Permission denied; expected a folder that can be read"):
        files_of(root=str(folder))
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SettingsError, match="Permission denied; expected a CSV file that can be read"):
        files_of(manifest=str(folder / "list.csv"))


def test_a_root_elsewhere_is_checked_too(files_of, folder, monkeypatch):
    system = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    monkeypatch.setattr(storage, "filesystem", lambda uri: (system, uri.removeprefix("remote://")))
    with pytest.raises(SettingsError, match="this is a file; expected a folder"):
        files_of(root="remote://a.wav")
    with pytest.raises(InputMissingError, match="no such folder"):
        files_of(root="remote://none")
    monkeypatch.undo()
    with pytest.raises(SettingsError, match=r"audio\.root=gopher://host/x: .*; expected the URI of a folder"):
        files_of(root="gopher://host/x")


def test_folders_and_files_whose_names_are_not_utf8(files_of, folder):
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    odd.mkdir()
    (odd / os.fsdecode(b"\xfcber.wav")).write_bytes(b"12")
    _, found = files_of(root=str(folder))
    assert found["caf\\xe9/\\xfcber", "caf\\xe9/\\xfcber.wav"]["audio_uri"].endswith("/caf%E9/%FCber.wav")
    name, found = files_of(root=f"{folder.as_uri()}/caf%E9")
    assert name.endswith("/caf%E9")
    assert found["\\xfcber", "\\xfcber.wav"]["file_size"] == 2
    (folder / "list.csv").write_text("track_id,audio_path\nt,file://" + f"{folder.as_uri()[7:]}/caf%E9/%FCber.wav\n")
    _, found = files_of(manifest=str(folder / "list.csv"))
    assert {(track, row["file_size"]) for (track, _), row in found.items()} == {("t", 2)}


def test_inputs_that_are_not_there_or_not_what_they_should_be(files_of, folder):
    with pytest.raises(InputMissingError, match=r"none\.csv"):
        files_of(manifest=str(folder / "none.csv"))
    with pytest.raises(InputMissingError, match="no such folder"):
        files_of(root=str(folder / "none"))
    with pytest.raises(InputMissingError, match="no audio found"):
        files_of([("y", "title", None)])
    (folder / "list.csv").write_text("id,file\nt,a.wav\n")
    with pytest.raises(DataCheckError, match=r"no column track_id, audio_path .* the file has id, file"):
        files_of(manifest=str(folder / "list.csv"))
    (folder / "empty.csv").write_text("")
    with pytest.raises(InputMissingError, match="empty"):
        files_of(manifest=str(folder / "empty.csv"))
