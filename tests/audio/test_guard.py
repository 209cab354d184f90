"""Test the decoding process: equal results, and the cost of decoders that hang, crash or use too much memory."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import gone
from sounds import FORMATS, sound, write

from etude.audio import guard as guard_module
from etude.audio.child import Limits
from etude.audio.features import Refusal, spectrograms
from etude.audio.guard import Guard, shared_guard
from etude.audio.recipe import Recipe
from etude.audio.refusal import IN_THE_FILE

RECIPE = Recipe()


@pytest.fixture
def guarded():
    guards = []

    def make(recipe=RECIPE, **limits):
        guards.append(Guard(recipe, Limits(**{"time_limit_s": 20.0, **limits})))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture
def pipe(tmp_path):
    """Make a named pipe without a writer: opening it blocks forever."""
    path = tmp_path / "pipe.ogg"
    os.mkfifo(path)
    return str(path)


def reasons(outcomes):
    return [outcome.reason for outcome in outcomes]


def test_gives_what_the_bare_function_gives_from_path_and_bytes(guarded, wav_path):
    guard = guarded()
    bare = spectrograms(wav_path, "t", [1, 0], RECIPE)
    for source in (wav_path, Path(wav_path).read_bytes()):
        for mine, theirs in zip(guard.spectrograms(source, "t", [1, 0]), bare, strict=True):
            np.testing.assert_array_equal(mine.mel, theirs.mel)
            assert (mine.crop, mine.offset_s, mine.duration_s) == (theirs.crop, theirs.offset_s, theirs.duration_s)
            assert mine.content_sha256 == theirs.content_sha256
    assert reasons(guard.spectrograms(b"", "t", [0])) == ["undecodable"]
    assert reasons(guard.spectrograms(wav_path + ".none", "t", [0])) == ["missing"]


def test_a_name_that_is_not_utf8_reaches_the_process(guarded, wav_path):
    odd = os.fsencode(wav_path).replace(b"sound", b"caf\xe9")
    Path(wav_path).rename(os.fsdecode(odd))
    assert guarded().spectrograms(os.fsdecode(odd), "t", [0])[0].mel.shape == (128, 47)


def test_one_process_serves_many_files(guarded, wav_path):
    guard = guarded()
    guard.spectrograms(wav_path, "t", [0])
    first = guard.pid
    for track in range(50):
        guard.spectrograms(wav_path, f"t{track}", [0])
    assert guard.pid == first


def test_a_payload_larger_than_the_pipe(guarded, wav_path):
    data = Path(wav_path).read_bytes() + bytes(3 << 20)
    (outcome,) = guarded().spectrograms(data, "t", [0])
    assert outcome.mel.shape == (128, 47)


def test_a_file_that_hangs_is_refused_at_the_limit_and_its_process_is_gone(guarded, wav_path, pipe):
    guard = guarded(time_limit_s=3.0)
    guard.spectrograms(wav_path, "t", [0])
    hanging = guard.pid
    started = time.monotonic()
    assert reasons(guard.spectrograms(pipe, "t", [0, 1])) == ["timeout", "timeout"]
    assert time.monotonic() - started < 15
    assert gone(hanging)
    assert guard.spectrograms(wav_path, "t", [0])[0].mel.shape == (128, 47)
    assert guard.pid not in (None, hanging)


def test_a_stopped_process_is_killed_even_while_it_is_being_written_to(guarded, wav_path):
    guard = guarded(time_limit_s=3.0)
    guard.spectrograms(wav_path, "t", [0])
    os.kill(guard.pid, signal.SIGSTOP)
    stopped = guard.pid
    assert reasons(guard.spectrograms(bytes(8 << 20), "t", [0])) == ["timeout"]
    assert gone(stopped)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_costs_one_file(guarded, wav_path, pipe, how):
    guard = guarded(time_limit_s=20.0)
    guard.spectrograms(wav_path, "t", [0])
    threading.Timer(0.3, os.kill, (guard.pid, how)).start()  # while the decoder waits for the pipe
    (refusal,) = guard.spectrograms(pipe, "t", [0])
    assert (refusal.reason, refusal.detail) == ("crashed", f"the decoder ended with {how.name}")
    assert guard.spectrograms(wav_path, "t", [0])[0].mel.shape == (128, 47)


def test_a_death_between_two_files_costs_none(guarded, wav_path):
    guard = guarded()
    guard.spectrograms(wav_path, "t", [0])
    os.kill(guard.pid, signal.SIGKILL)
    assert gone(guard.pid)
    assert guard.spectrograms(wav_path, "t", [0])[0].mel.shape == (128, 47)


def test_a_file_that_asks_for_gigabytes_is_refused(guarded, wav_path, tmp_path):
    # 3 s of 1,024 channels at 192 kHz have 2.4 GB as float32; the file itself is sparse.
    bomb = tmp_path / "bomb.wav"
    channels, rate, size = 1024, 192_000, 1 << 31
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    header = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    with bomb.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size - 100))
        file.truncate(size)
    guard = guarded(memory_mb=512)
    assert reasons(guard.spectrograms(str(bomb), "t", [0])) == ["out_of_memory"]
    status = Path(f"/proc/{guard.pid}/limits").read_text()
    assert str(512 << 20) in next(line for line in status.splitlines() if line.startswith("Max address space"))
    assert guard.spectrograms(wav_path, "t", [0])[0].mel.shape == (128, 47)


def test_the_process_gets_no_credentials_and_one_thread(guarded, wav_path, monkeypatch):
    monkeypatch.setenv("ETUDE_USER_KEY", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    guard = guarded()
    guard.spectrograms(wav_path, "t", [0])
    environment = Path(f"/proc/{guard.pid}/environ").read_bytes()
    assert b"hush" not in environment
    assert b"OPENBLAS_NUM_THREADS=1" in environment
    assert len(list(Path(f"/proc/{guard.pid}/task").iterdir())) == 1


def test_it_loads_no_more_than_it_needs():
    heavy = {"pyspark", "pandas", "pyarrow", "librosa", "scipy", "torch", "pydantic", "etude.audio.guard"}
    code = "import sys, etude.audio.child, etude.audio.features; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "soxr" in loaded
    assert not heavy & set(loaded)


def test_a_process_that_cannot_start_is_nobodys_reject(guarded, wav_path, monkeypatch):
    monkeypatch.setattr(guard_module, "configuration", lambda *_: "no json")
    with pytest.raises(RuntimeError, match=r"doesn't start.*JSONDecodeError"):
        guarded().spectrograms(wav_path, "t", [0])


def test_it_ends_when_its_worker_is_killed(wav_path):
    code = (
        "import sys, time; from etude.audio.guard import *; g = Guard(Recipe(), Limits());"
        f"g.spectrograms({wav_path!r}, 't', [0]); print(g.pid, flush=True); time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    assert gone(pid)


@pytest.mark.slow
def test_it_ends_by_itself_when_it_hangs_and_its_worker_is_gone(pipe):
    # SIGALRM ends it 2 x time_limit_s + 5 seconds after the request; the worker is killed before its own limit.
    code = (
        "from etude.audio.guard import *; import os, threading; g = Guard(Recipe(), Limits(time_limit_s=0.5));"
        "g._ensure_started(); print(g.pid, flush=True);"
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), 9)).start();"
        f"g.spectrograms({pipe!r}, 't', [0])"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(worker.stdout.readline())
    worker.communicate()
    assert not gone(pid, within_s=0.5)
    assert gone(pid, within_s=12)


def test_whatever_the_bytes_there_is_an_answer(guarded, tmp_path):
    """Change a few bytes of valid files: decoders may refuse them or crash, but the guard must not."""
    guard = guarded(time_limit_s=10.0)
    originals = [write(tmp_path / f"x.{form}", sound(4, 8000), 8000).read_bytes() for form in FORMATS]

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.sampled_from(originals), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=12))
    def damaged(original, changes):
        data = bytearray(original)
        for place, byte in changes:
            # Most faults depend on the header: the power puts half of the changes into the first sixteenth.
            data[int(place**4 * len(data))] = byte
        (outcome,) = guard.spectrograms(bytes(data), "t", [0])
        if isinstance(outcome, Refusal):
            assert outcome.reason in {*IN_THE_FILE, "timeout", "crashed"}
        else:
            assert np.isfinite(outcome.mel).all()

    damaged()


def test_a_worker_keeps_its_guard_from_task_to_task_and_replaces_it_when_settings_change(wav_path):
    first = shared_guard(RECIPE, Limits())
    first.spectrograms(wav_path, "t", [0])
    pid = first.pid
    assert shared_guard(Recipe(), Limits()) is first
    second = shared_guard(Recipe(n_mels=40), Limits())
    assert second is not first
    assert gone(pid)
    assert second.spectrograms(wav_path, "t", [0])[0].mel.shape == (40, 47)
    second.close()
