"""The mel job: on files made here, and on the real music through spark-submit."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from audio.sounds import librosa_mel
from etude.config import load_settings
from etude.job import Arguments, execute
from etude.lake import Lake
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import mel

DAY = date(2026, 1, 31)


def write(path, seconds=5.0, seed=0, gain=0.1):
    samples = gain * np.random.default_rng(seed).standard_normal(int(8000 * seconds))
    soundfile.write(path, samples, 8000)


@pytest.fixture
def start(spark, tmp_path, monkeypatch):
    """Run the job in a lake of its own; gives the exit status and the JSON line. No file may be computed twice."""
    counters = []
    watched = mel.watched

    def watching(log, what, done, total):
        counters.append((done, total))
        return watched(log, what, done, total)

    monkeypatch.setattr(mel, "watched", watching)

    def run(*overrides, day=DAY):
        settings = load_settings((), [f"lake.root={tmp_path / 'lake'}", *overrides])
        outcome = execute("mel", mel.run, spark, Arguments(settings, day, str(day)), job_logger())
        for done, total in counters:
            assert done() == total
        return outcome.exit_code, json.loads(outcome.line)

    run.lake = Lake(str(tmp_path / "lake"), spark)
    return run


@pytest.fixture
def music(tmp_path):
    """Four good files and five that are refused, each for another reason."""
    folder = tmp_path / "music"
    folder.mkdir()
    for i, name in enumerate(["a.wav", "b.flac", "c.ogg", "d.mp3"]):
        write(folder / name, seed=i)
    write(folder / "short.wav", seconds=2)
    write(folder / "silent.wav", gain=0)
    (folder / "broken.mp3").write_bytes(b"no music")
    os.mkfifo(folder / "pipe.wav")
    rows = [(file.stem, file.name) for file in sorted(folder.iterdir())]
    rows.append(("none", "none.ogg"))
    (folder / "list.csv").write_text("\n".join(["track_id,audio_path", *(",".join(row) for row in rows)]))
    return folder


def tables(lake):
    mel_rows = {(r["track_id"], r["crop"], r["settings_sha256"]): r for r in lake.look("mel")}
    rejects = {r["locator"]: r for r in lake.look("rejects", job="mel")}
    return mel_rows, rejects


def counted(line):
    rows = line["rows"]
    assert rows["crops_in"] == rows["crops_computed"] + rows["crops_unchanged"] + rows["crops_rejected"]
    return rows["crops_computed"], rows["crops_unchanged"], rows["crops_rejected"]


@pytest.mark.slow
def test_only_what_is_new_or_changed_is_computed_and_refusals_follow_the_files(start, music):
    manifest = f"audio.manifest={music / 'list.csv'}"
    code, line = start(manifest)
    assert (code, counted(line)) == (0, (4, 0, 5))
    assert line["rejected"] == {"missing": 1, "not_a_file": 1, "silent": 1, "too_short": 1, "undecodable": 1}
    first_mel, first_rejects = tables(start.lake)
    assert {track for track, *_ in first_mel} == {"a", "b", "c", "d"}
    assert {len(row["mel"]) for row in first_mel.values()} == {128 * 47}
    version = start.lake.version("mel")

    # The same again: nothing is computed, not even what was refused for what it holds, and the tables stay.
    code, line = start(manifest)
    assert (code, counted(line)) == (0, (0, 4, 5))
    assert tables(start.lake) == (first_mel, first_rejects)
    assert start.lake.version("mel") == version

    # The next night: a changed, b broken, short mended, none there, d gone from the manifest.
    write(music / "a.wav", seconds=6, seed=9)
    (music / "b.flac").write_bytes(b"no music any more")
    write(music / "short.wav", seconds=4, seed=8)
    write(music / "none.ogg", seed=7)
    lines = (music / "list.csv").read_text().splitlines()
    (music / "list.csv").write_text("\n".join(row for row in lines if not row.startswith("d,")))
    code, line = start(manifest, day=date(2026, 2, 1))
    assert (code, counted(line)) == (0, (3, 1, 4))
    assert line["rejected"] == {"not_a_file": 1, "silent": 1, "undecodable": 2}
    now_mel, now_rejects = tables(start.lake)
    by_track = {track: row for (track, *_), row in now_mel.items()}
    assert set(by_track) == {"a", "c", "d", "none", "short"}
    before = {track: row for (track, *_), row in first_mel.items()}
    assert by_track["c"] == before["c"]
    assert by_track["a"]["duration_s"] == 6.0
    assert now_rejects["silent#0"] == first_rejects["silent#0"]
    assert {locator: str(row["batch_date"]) for locator, row in now_rejects.items()} == {
        "b#0": "2026-02-01",
        "broken#0": "2026-01-31",
        "pipe#0": "2026-02-01",
        "silent#0": "2026-01-31",
    }


@pytest.mark.slow
def test_other_settings_give_rows_of_their_own_and_more_crops_only_what_lacks(start, music):
    manifest = f"audio.manifest={music / 'list.csv'}"
    start(manifest)
    first, _ = tables(start.lake)
    code, line = start(manifest, "mel.crops=2")
    assert (code, counted(line)) == (0, (4, 4, 10))
    code, line = start(manifest, "mel.n_mels=40")
    assert (code, counted(line)) == (0, (4, 0, 5))
    code, line = start(manifest, "mel.offsets=2")
    assert (code, counted(line)) == (0, (4, 0, 5))
    now, _ = tables(start.lake)
    assert len(now) == 16
    assert {key: now[key] for key in first} == first
    assert len({settings for _, _, settings in now}) == 3


@pytest.mark.slow
def test_nothing_to_use_exits_3_and_says_why(start, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    code, line = start(f"audio.root={folder}")
    assert (code, line["error"]) == (3, f"file://{folder} lists no audio file; expected at least one")
    write(folder / "short.wav", seconds=1)
    code, line = start(f"audio.root={folder}")
    assert code == 3
    assert "none of 1 crops can be used; they were rejected as {'too_short': 1}" in line["error"]
    _, rejects = tables(start.lake)
    assert rejects["short#0"]["reason"] == "too_short"
    code, line = start()
    assert code == 3
    assert "no audio found" in line["error"]


@pytest.mark.slow
def test_odd_entries_of_a_folder_cost_only_themselves(start, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    latin = os.fsdecode(b"caf\xe9")
    write(folder / "sound.wav")
    (folder / "sound.wav").rename(folder / f"{latin}.wav")
    (folder / latin).mkdir()
    write(folder / "short.wav", seconds=1)
    (folder / "short.wav").rename(folder / latin / "short.wav")
    (folder / "page.mp3").write_text("<html><body>404</body></html>" * 99)
    (folder / "dangling.wav").symlink_to("nowhere")
    (folder / "itself.wav").symlink_to("itself.wav")
    (folder / "album.mp3").mkdir()
    os.mkfifo(folder / "pipe.wav")
    samples = np.zeros(8000 * 40)
    samples[8000 * 30 :] = np.random.default_rng(0).uniform(-0.1, 0.1, 8000 * 10)
    soundfile.write(folder / "pause.wav", samples, 8000)
    code, line = start(f"audio.root={folder}")
    assert (code, counted(line)) == (0, (2, 0, 6))
    assert line["rejected"] == {"missing": 1, "not_a_file": 2, "too_short": 1, "undecodable": 1, "unreadable": 1}
    rows, rejects = tables(start.lake)
    assert {track for track, *_ in rows} == {"caf\\xe9", "pause"}
    assert rejects["caf\\xe9/short#0"]["reason"] == "too_short"
    assert rejects["page#0"]["detail"] == "not audio: the file is an HTML page"
    code, line = start(f"audio.root={folder}")
    assert (code, counted(line)) == (0, (0, 2, 6))

    code, line = start(f"audio.root={folder / 'page.mp3'}")
    assert (code, line["error"]) == (2, f"audio.root={folder / 'page.mp3'}: this is a file; expected a folder")


@pytest.mark.slow
@pytest.mark.real
def test_the_real_music_gives_librosas_numbers(start, submit, real_data, tmp_path):
    root = f"lake.root={tmp_path / 'lake'}"
    done = submit("mel", root, f"audio.manifest={real_data / 'audio' / 'manifest.csv'}", "--run-id", "manifest")
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert counted(line) == (31, 0, 3)
    assert line["rejected"] == {"too_short": 1, "undecodable": 2}
    _, rejects = tables(start.lake)
    assert {locator: row["reason"] for locator, row in rejects.items()} == {
        "librosa-data/456440__inspectorj__bird-whistling-robin-single-13#0": "too_short",
        "tecnoballz-data/area3-game#0": "undecodable",
        "tecnoballz-data/high-score#0": "undecodable",
    }
    assert "2.699 s" in rejects["librosa-data/456440__inspectorj__bird-whistling-robin-single-13#0"]["detail"]

    code, line = start(f"audio.root={real_data / 'audio' / 'librosa-test-data'}", "audio.keep_suffix=true")
    assert (code, counted(line)) == (0, (4, 0, 0))

    rows, rejects = tables(start.lake)
    assert len(rejects) == 3
    assert {"wesnoth-1.16-music/silence", "test1_22050.mp3", "test2_8000.wav"} <= {track for track, *_ in rows}
    assert len(rows) == 35
    for row in rows.values():
        array = np.array(row["mel"], np.float32).reshape(128, 47)
        assert np.isfinite(array).all()
        wanted = librosa_mel(unquote(row["audio_uri"].removeprefix("file://")), row["offset_s"])
        assert np.abs(array - wanted).max() < 1e-3, row["track_id"]
