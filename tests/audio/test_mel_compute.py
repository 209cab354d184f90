import contextlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from sounds import librosa_mel, sound, write

from etude.audio.compute import compute, limits_of, mel_rows, recipe_of
from etude.audio.files import file_uri
from etude.audio.recipe import Recipe
from etude.config.audio import MelSettings
from etude.frames import small_frame
from etude.lake.lake import conform
from etude.lake.tables import MEL

FILES = "track_id string, path string, audio_uri string, file_size bigint, file_mtime_us bigint, crops array<int>"


@pytest.fixture
def compute_files(spark):
    def run(paths, crops=(0,), sizes=None, **settings):
        rows = [
            (
                f"t{i}",
                path.name,
                file_uri(str(path)),
                (sizes or {}).get(path.name, 1),
                1_700_000_000_000_000 + i,
                list(crops),
            )
            for i, path in enumerate(paths)
        ]
        done = spark.sparkContext.accumulator(0)
        results = compute(small_frame(spark, rows, FILES), len(rows), MelSettings(**settings), done).persist()
        results.count()
        return results, done

    return run


def test_good_files_give_mel_rows_and_bad_ones_refusals_each_file_computed_once(compute_files, tmp_path):
    good = [write(tmp_path / f"g{i}.flac", sound(6, 22_050, seed=i), 22_050) for i in range(3)]
    (tmp_path / "bad.mp3").write_bytes(b"no music")
    results, done = compute_files([*good, tmp_path / "bad.mp3", tmp_path / "none.wav"], crops=(0, 1))
    assert done.value == 5
    rows = conform(mel_rows(results, MelSettings()), MEL).collect()
    assert len(rows) == 6
    assert done.value == 5
    for row in rows:
        path = tmp_path / f"g{row['track_id'][1:]}.flac"
        mel = np.array(row["mel"], np.float32).reshape(row["n_mels"], row["n_frames"])
        assert np.abs(mel - librosa_mel(path, row["offset_s"])).max() < 1e-3
        assert (row["sample_rate"], row["duration_s"], row["audio_uri"]) == (8000, 6.0, file_uri(str(path)))
        assert row["settings_sha256"] == MelSettings().settings_sha256
    refused = {(r["track_id"], r["crop"], r["reason"]) for r in results.where("reason IS NOT NULL").collect()}
    assert refused == {("t3", 0, "undecodable"), ("t3", 1, "undecodable"), ("t4", 0, "missing"), ("t4", 1, "missing")}


def kill_the_reader_of(pipe):
    """Wait for a decoder of this process's session that reads the pipe, and kill it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # succeeds once a reader opens the pipe
        except OSError:
            time.sleep(0.05)
            continue
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                if "etude.audio.child" in " ".join(process.cmdline()):
                    held = [entry.readlink() for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
                    if pipe in held:
                        process.kill()
        os.close(writing)


@pytest.mark.slow
def test_a_decoder_that_hangs_and_one_that_dies_cost_a_row_each_and_the_task_goes_on(compute_files, tmp_path):
    paths = [write(tmp_path / f"g{i}.wav", sound(5, 8000, seed=i), 8000) for i in range(2)]
    for name in ("hangs.wav", "dies.wav"):
        os.mkfifo(tmp_path / name)
        paths.append(tmp_path / name)
    threading.Thread(target=kill_the_reader_of, args=(tmp_path / "dies.wav",), daemon=True).start()
    results, done = compute_files(paths, time_limit_s=5.0)
    assert done.value == 4
    found = {row["path"]: (row["reason"], row["detail"]) for row in results.collect()}
    assert found == {
        "g0.wav": (None, None),
        "g1.wav": (None, None),
        "hangs.wav": ("timeout", "decoding took more than 5 s"),
        "dies.wav": ("crashed", "the decoder ended with SIGKILL"),
    }


def test_a_file_over_the_bound_is_not_opened(compute_files, tmp_path):
    path = write(tmp_path / "x.wav", sound(5, 8000), 8000)
    results, _ = compute_files([path], sizes={"x.wav": (1 << 20) + 1}, max_file_mb=1)
    (row,) = results.collect()
    assert (row["reason"], row["detail"]) == ("too_large", "1.0 MB; at most 1.0 MB allowed")


def test_nothing_to_do_is_done_at_once(compute_files):
    results, done = compute_files([])
    assert (results.count(), done.value) == (0, 0)


def test_the_hash_names_the_settings_that_shape_the_numbers_and_no_others():
    plain = MelSettings()
    for change in ({"crops": 3}, {"fallback": "ffmpeg"}, {"time_limit_s": 1.0}, {"memory_mb": 512}, {"max_file_mb": 7}):
        assert MelSettings(**change).settings_sha256 == plain.settings_sha256
    changes = {"sample_rate": 16_000, "crop_s": 2.0, "n_fft": 512, "hop_length": 256, "n_mels": 40, "offsets": 1}
    shaped = [MelSettings(**{name: value}) for name, value in {**changes, "window": "hann", "seed": 2}.items()]
    assert len({settings.settings_sha256 for settings in [plain, *shaped]}) == 9
    assert set(plain.recipe) == set(Recipe.__dataclass_fields__)
    assert recipe_of(plain) == Recipe()
    attempts = [MelSettings(**{name: value}) for name, value in (("fallback", "ffmpeg"), ("time_limit_s", 1.0))]
    assert len({settings.attempt_sha256 for settings in [plain, MelSettings(crops=9), *attempts, *shaped]}) == 11
    assert limits_of(MelSettings(max_file_mb=3, fallback="ffmpeg")).max_bytes == 3 << 20
