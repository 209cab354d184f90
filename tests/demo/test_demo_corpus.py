"""Test the whole corpus: it is atomic and the same for the same seed; test the command."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from etude.cli.main import main
from etude.config import load_settings
from etude.config.demo import DemoSettings
from etude.demo import VERSION
from etude.demo import corpus as corpus_module
from etude.demo.corpus import build
from etude.demo.latent import generator, plant_learners, plant_tracks
from etude.demo.listens import chunks
from etude.demo.render import render
from etude.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
QUIET = DemoSettings(users=20, tracks=10, events=300, audio=False)


def content(folder: Path) -> dict[str, str]:
    """Return relative path -> hash of the content: the decoded samples of Ogg files, the bytes of other files."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if data[:4] == b"OggS":
            samples, rate = soundfile.read(path)
            data = samples.tobytes() + bytes(rate % 256)
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def test_the_number_of_processes_changes_nothing(corpus, tmp_path) -> None:
    build(tmp_path / "two", corpus.settings.model_copy(update={"processes": 2}))
    assert content(tmp_path / "two") == content(corpus.folder)


def test_the_same_corpus_is_not_made_again_and_another_is_made_in_its_place(tmp_path) -> None:
    out = tmp_path / "corpus"
    assert build(out, QUIET)
    made = (out / "corpus.json").stat().st_mtime_ns
    assert not build(out, QUIET.model_copy(update={"processes": 3}))
    assert (out / "corpus.json").stat().st_mtime_ns == made
    before = content(out)
    assert build(out, QUIET.model_copy(update={"seed": 2}))
    assert content(out)["plays/plays-2025-03.csv"] != before["plays/plays-2025-03.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_corpus_of_an_earlier_version_is_made_anew_and_so_is_a_damaged_one_by_force(tmp_path) -> None:
    out = tmp_path / "corpus"
    build(out, QUIET)
    earlier = json.loads((out / "corpus.json").read_text())
    (out / "corpus.json").write_text(json.dumps({**earlier, "version": VERSION - 1}))
    assert build(out, QUIET)
    (out / "README.txt").unlink()
    assert not build(out, QUIET)
    assert build(out, QUIET, force=True)
    assert (out / "README.txt").exists()


def test_a_foreign_folder_is_refused_and_an_empty_one_taken(tmp_path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    assert build(foreign, QUIET)
    for content_of_json in ("[]", '{"name": "some other program\'s"}', None):
        (foreign / "corpus.json").write_text(content_of_json) if content_of_json else (foreign / "corpus.json").unlink()
        for force in (False, True):
            with pytest.raises(SettingsError, match="not a corpus"):
                build(foreign, QUIET, force=force)
    assert (foreign / "expected.json").exists()
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(SettingsError):
        build(file, QUIET, force=True)
    assert file.read_text() == "x"


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "corpus"
    build(out, QUIET)
    before = content(out)

    def fail(piece) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(corpus_module, "write_piece", fail)
    with pytest.raises(OSError, match="no space"):
        build(out, QUIET.model_copy(update={"audio": True, "processes": 1}))
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_audio_has_no_part_in_the_plays(corpus, tmp_path) -> None:
    build(tmp_path / "quiet", corpus.settings.model_copy(update={"audio": False}))
    with_sound, without = content(corpus.folder), content(tmp_path / "quiet")
    assert {name for name in with_sound if name.startswith("plays/")} <= set(without)
    assert all(
        without[name] == digest for name, digest in with_sound.items() if name.split("/")[0] in ("plays", "truth")
    )
    assert not (tmp_path / "quiet" / "manifest.csv").exists()


def test_the_command(tmp_path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "made"
    sizes = ["--users", "20", "--tracks", "10", "--events", "300"]
    # Settings and options may stand in any order, before and after the folder.
    arguments = ["demo-corpus", "demo.taste=1.5", *sizes, str(out), "--no-audio", "--seed", "4"]
    assert main([*arguments, "demo.whims=0.2"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["where"], line["audio"]) == ("made", str(out), 0)
    settings = json.loads((out / "corpus.json").read_text())["settings"]
    assert (settings["users"], settings["seed"], settings["taste"], settings["audio"]) == (20, 4, 1.5, False)
    assert settings["whims"] == 0.2
    assert main([*arguments, "demo.whims=0.2"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "already there"
    (out / "corpus.json").unlink()
    assert main(arguments) == 2
    assert "not a corpus" in capsys.readouterr().err
    assert main([*arguments, "demo.share_audible=0.9"]) == 2
    assert "expected at most 1" in capsys.readouterr().err
    assert main([*arguments, "demo.tast=1"]) == 2


def test_the_demo_reads_where_the_corpus_lies() -> None:
    settings = load_settings([ROOT / "conf" / "demo.yaml"])
    landing = "build/demo/landing"
    assert settings.listening.path == f"{landing}/plays"
    assert settings.audio.manifest == f"{landing}/manifest.csv"
    assert [source.path for source in settings.catalogue.sources] == [
        f"{landing}/catalogue/catalogue.csv",
        f"{landing}/catalogue/library.csv",
    ]


def test_sizes_default_to_the_demo() -> None:
    settings = DemoSettings()
    assert (settings.users, settings.tracks, settings.artist_count) == (2000, 1500, 120)
    assert 100_000 <= settings.events <= 200_000
    np.testing.assert_allclose(settings.share_hidden, 0.1)


def test_what_a_version_of_the_generator_makes_stays_the_same() -> None:
    """Check fixed values: existing corpora of this version stay in use, so a change of content must raise VERSION."""
    settings = DemoSettings(users=50, tracks=40, events=2000)
    tracks, learners = plant_tracks(settings), plant_learners(settings)
    planted = [tracks.artist, tracks.key, tracks.tags, tracks.year, tracks.style, tracks.popularity, learners.activity]
    planted += [*tracks.parts.values(), *learners.parts.values(), learners.joined]
    plays = list(chunks(settings, tracks, learners)[1])
    log = [np.concatenate([getattr(p, name) for p in plays]) for name in ("user", "track", "played_at", "play_count")]
    sound = render(tracks.style[0], 3, 8000, 3.0, generator(1, "pinned")).astype(np.float64)
    loudness = np.sqrt((sound.reshape(6, -1) ** 2).mean(axis=1))
    assert VERSION == 1
    assert (pinned(planted), pinned(log)) == ("a31c5101f4559d17", "f1d14b41e9afc8e7")
    np.testing.assert_allclose(loudness, [0.12167, 0.11822, 0.093841, 0.11161, 0.11468, 0.11179], rtol=1e-3)


def pinned(arrays: list[np.ndarray]) -> str:
    """Hash the values rounded to 4 decimals, so that the order of summation doesn't matter."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update((np.round(array.astype(np.float64), 4) + 0.0).tobytes())
    return digest.hexdigest()[:16]
