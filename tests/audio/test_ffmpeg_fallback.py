"""Test the fallback with a stand-in program on every machine, and with ffmpeg if it is installed."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from processes import gone
from sounds import librosa_mel, sound, write

from etude.audio.child import Limits
from etude.audio.fallback import Transcoder, find_ffmpeg
from etude.audio.features import Refusal, spectrograms
from etude.audio.guard import Guard
from etude.audio.recipe import Recipe

RECIPE = Recipe()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Write a program named ffmpeg that accepts only one format: `SECRET` followed by a WAV file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "source, wav = (name.removeprefix('file:') for name in (sys.argv[sys.argv.index('-i') + 1], sys.argv[-1]))\n"
        "data = open(source, 'rb').read()\n"
        "if not data.startswith(b'SECRET'): sys.exit('Invalid data found when processing input')\n"
        "open(wav, 'wb').write(data[6:])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Transcoder(str(program), 1 << 30)


@pytest.fixture
def secret(tmp_path, wav_path):
    path = tmp_path / "x.mod"
    path.write_bytes(b"SECRET" + Path(wav_path).read_bytes())
    return str(path)


def test_what_libsndfile_refuses_goes_to_the_fallback_and_nothing_else_does(stand_in, secret, wav_path):
    (found,) = spectrograms(secret, "t", [0], RECIPE, stand_in)
    (plain,) = spectrograms(wav_path, "t", [0], RECIPE)
    np.testing.assert_array_equal(found.mel, plain.mel)
    np.testing.assert_array_equal(spectrograms(Path(secret).read_bytes(), "t", [0], RECIPE, stand_in)[0].mel, plain.mel)
    assert spectrograms(secret, "t", [0], RECIPE)[0].reason == "undecodable"
    broken = Transcoder("/bin/false", 1)
    np.testing.assert_array_equal(spectrograms(wav_path, "t", [0], RECIPE, broken)[0].mel, plain.mel)


def test_a_name_that_is_not_utf8_reaches_the_program(stand_in, secret):
    odd = os.fsdecode(os.fsencode(secret).replace(b"x.mod", b"caf\xe9.mod"))
    Path(secret).rename(odd)
    assert spectrograms(odd, "t", [0], RECIPE, stand_in)[0].mel.shape == (128, 47)


def test_what_neither_can_read_is_undecodable_in_the_fallbacks_words(stand_in, tmp_path):
    (tmp_path / "x.mod").write_bytes(b"nothing")
    (refusal,) = spectrograms(str(tmp_path / "x.mod"), "t", [0], RECIPE, stand_in)
    assert (refusal.reason, refusal.detail) == ("undecodable", "ffmpeg: Invalid data found when processing input")


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        ("sys.exit('out.wav: No space left on device')", "failed", "No space left on device"),
        ("sys.stderr.write('Cannot allocate memory'); open(wav, 'wb').write(b'RIFF')", "failed", "Cannot allocate"),
        ("open(wav, 'wb').write(bytes(2000))", "too_large", "decoded, the file has more than 0 MB"),
    ],
)
def test_a_lack_of_disk_or_memory_is_not_the_files_fault(stand_in, tmp_path, body, reason, said):
    program = Path(stand_in.binary)
    program.write_text(f"#!{sys.executable}\nimport sys\nwav = sys.argv[-1].removeprefix('file:')\n{body}\n")
    (tmp_path / "x.m4a").write_bytes(b"no audio that libsndfile knows")
    (found,) = spectrograms(str(tmp_path / "x.m4a"), "t", [0], RECIPE, Transcoder(stand_in.binary, 2000))
    assert (found.reason, said in found.detail) == (reason, True), found


def test_a_short_file_stays_too_short(stand_in, tmp_path):
    short = write(tmp_path / "short.wav", sound(2, 8000), 8000)
    (tmp_path / "x.mod").write_bytes(b"SECRET" + short.read_bytes())
    assert spectrograms(str(tmp_path / "x.mod"), "t", [0], RECIPE, stand_in)[0].reason == "too_short"


def test_the_guarded_process_finds_the_program_and_its_end_is_the_programs_end(stand_in, secret, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    guard = Guard(RECIPE, Limits(time_limit_s=6.0, ffmpeg=True))
    try:
        assert guard.spectrograms(secret, "t", [0])[0].mel.shape == (128, 47)
        Path(stand_in.binary).write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
        assert guard.spectrograms(secret, "t", [0])[0].reason == "timeout"
        pid = int((tmp_path / "pid").read_text())
        assert gone(pid)
        assert not list(scratch.iterdir())
    finally:
        guard.close()


def test_a_program_that_hangs_ends_without_anybody_watching(stand_in, secret, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    Path(stand_in.binary).write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    (refusal,) = spectrograms(secret, "t", [0], RECIPE, Transcoder(stand_in.binary, 1 << 30, time_limit_s=2.0))
    assert (refusal.reason, refusal.detail) == ("timeout", "ffmpeg took more than 2 s")
    assert gone(int((tmp_path / "pid").read_text()))
    assert not list(scratch.iterdir())


def test_a_machine_without_the_program_says_so_at_the_start(wav_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="no ffmpeg found in PATH"):
        Guard(RECIPE, Limits(ffmpeg=True)).spectrograms(wav_path, "t", [0])


@pytest.mark.skipif(find_ffmpeg() is None, reason="ffmpeg is not installed")
def test_ffmpeg_itself(tmp_path):
    path = write(tmp_path / "x.wav", sound(6, 22_050, 2), 22_050, subtype="FLOAT")
    with Transcoder(find_ffmpeg(), 1 << 30).as_wav(str(path)) as wav:
        (found,) = spectrograms(wav, "t", [0], RECIPE)
    assert not isinstance(found, Refusal)
    assert np.abs(found.mel - librosa_mel(path, found.offset_s)).max() < 1e-3


@pytest.mark.real
@pytest.mark.skipif(find_ffmpeg() is None, reason="ffmpeg is not installed")
def test_the_tracker_modules_decode_with_ffmpeg(real_data):
    transcoder = Transcoder(find_ffmpeg(), 1 << 30)
    for name in ("area3-game", "high-score"):
        path = real_data / "audio" / "tecnoballz-data" / f"{name}.mod"
        (found,) = spectrograms(str(path), name, [0], RECIPE, transcoder)
        assert found.mel.shape == (128, 47)
