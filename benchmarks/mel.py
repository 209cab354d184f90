"""Compare the job mel with a bare loop of librosa: decode a window, STFT, mel filters, logarithm.

    python benchmarks/mel.py build/bench/mel.json

Folders of FLAC, Ogg, MP3 and WAV files of one minute, 44.1 kHz, stereo. Both use as many processes as there are cores.
The job's rate is that of additional files: the difference between two jobs, so that the start of Spark doesn't count.
The second peer decodes whole files, as scripts often do.

Then what the decoding process of its own costs beside the same work without it; what a file of an hour costs beside one
of 30 seconds; and the job over 100,000 small files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import librosa
import numpy as np
import soundfile
from _measured import machine, run, save

from etude.audio.compute import limits_of, recipe_of
from etude.audio.features import spectrograms
from etude.audio.guard import Guard
from etude.config.audio import MelSettings

FOLDER = Path("build/bench/mel")
CORES = len(os.sched_getaffinity(0))
FORMATS = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III", "wav": "PCM_16"}
RATE, SECONDS, DISTINCT = 44_100, 60, 12
FEW, MANY, ALONE = 500, 3_000, 600
"""Files of the two jobs, and of the loop over windows; a third of them of the loop over whole files."""
MEL = MelSettings()
SMALL, ROUNDS = 100_000, 5
SHORT_S, HOUR_S = 30, 3600


def sound(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return tones in noise, (samples, 2) float32."""
    at = np.arange(round(RATE * seconds)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * at) for pitch in rng.uniform(80, 3000, 6)) / 12
    return (np.stack([tones, tones], axis=1) + rng.normal(0, 0.02, (len(at), 2))).astype(np.float32)


def write(path: Path, form: str, samples: np.ndarray, times: int = 1) -> None:
    """Write samples some times over, piece by piece: Vorbis can't take a minute at once."""
    with soundfile.SoundFile(path, "w", RATE, 2, FORMATS[form], format=form.upper()) as file:
        for _ in range(times):
            for piece in np.array_split(samples, -(-len(samples) // RATE)):
                file.write(piece)


def make(form: str) -> None:
    """Write some distinct files, and link to them under many names."""
    rng = np.random.default_rng(0)
    folder = FOLDER / form
    folder.mkdir(parents=True)
    for n in range(DISTINCT):
        write(folder / f"{n}.{form}", form, sound(SECONDS, rng))
    for size in (FEW, MANY):
        link(folder, form, size)


def link(folder: Path, form: str, size: int) -> None:
    """Link to the files of a folder under many names."""
    (FOLDER / f"{form}-{size}").mkdir()
    for n in range(size):
        os.link(folder / f"{n % DISTINCT}.{form}", FOLDER / f"{form}-{size}" / f"{n:05d}.{form}")


def job(form: str, size: int) -> dict[str, float]:
    """Run the job on a new lake."""
    lake = FOLDER / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    settings = [f"lake.root={lake}", f"audio.root={FOLDER / f'{form}-{size}'}", "--run-id", "bench"]
    command = ["spark-submit", "--master", f"local[{CORES}]", "jobs/mel.py", *settings]
    measured = run(command, FOLDER / "mel.log")
    told = json.loads(measured.last_line)
    assert told["rows"]["crops_computed"] == size, told
    return {**measured.figures(), "in_job_s": told["seconds"]}


def features(sound: np.ndarray) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=sound, sr=MEL.sample_rate, n_fft=MEL.n_fft, hop_length=MEL.hop_length, n_mels=MEL.n_mels, window=MEL.window
    )
    return librosa.power_to_db(mel)


def window(path: str) -> float:
    """Decode three seconds from the middle."""
    sound, _ = librosa.load(path, sr=MEL.sample_rate, mono=True, offset=28.0, duration=MEL.crop_s)
    return float(features(sound).mean())


def whole(path: str) -> float:
    """Decode everything, and cut the three seconds out."""
    sound, _ = librosa.load(path, sr=MEL.sample_rate, mono=True)
    first = 28 * MEL.sample_rate
    return float(features(sound[first : first + round(MEL.crop_s * MEL.sample_rate)]).mean())


def loop(read: Callable[[str], float], form: str, size: int) -> float:
    """Return the files per second of a pool that reads them."""
    paths = [str(FOLDER / f"{form}-{MANY}" / f"{n:05d}.{form}") for n in range(size)]
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(read, paths[: 4 * CORES]))  # imports and caches
        begun = time.monotonic()
        list(pool.map(read, paths, chunksize=8))
        return size / (time.monotonic() - begun)


def compare(form: str) -> dict[str, Any]:
    make(form)
    few, many = job(form, FEW), job(form, MANY)
    ours = (MANY - FEW) / (many["in_job_s"] - few["in_job_s"])
    bare, all_of_it = loop(window, form, ALONE), loop(whole, form, ALONE // 3)
    found = {
        "files_per_s": ours,
        "window": bare,
        "whole": all_of_it,
        "ratio": ours / bare,
        "ratio_whole": ours / all_of_it,
    }
    print(f"mel: {form} {found}", file=sys.stderr, flush=True)
    return {**found, "jobs": {FEW: few, MANY: many}}


def per_file(path: Path) -> float:
    """Return the milliseconds for one crop of a file, without a process of its own; the median of some crops."""
    recipe, taken = recipe_of(MEL), []
    for n in range(2 * ROUNDS + 1):
        begun = time.monotonic()
        (found,) = spectrograms(str(path), f"track {n}", [0], recipe)
        taken.append(1000 * (time.monotonic() - begun))
        assert found.mel.size  # no refusal
    return median(taken)


def by_length(form: str) -> dict[str, float]:
    """Return the milliseconds for a file of 30 seconds, and for one of an hour."""
    short, hour = (FOLDER / f"{name}.{form}" for name in ("short", "hour"))
    samples = sound(SHORT_S, np.random.default_rng(1))
    write(short, form, samples)
    write(hour, form, samples, HOUR_S // SHORT_S)
    found = {"short_ms": per_file(short), "hour_ms": per_file(hour)}
    hour.unlink()
    print(f"mel: {form} {found}", file=sys.stderr, flush=True)
    return found


def guarded(form: str) -> dict[str, float]:
    """Return the files per second through the decoding process, and of the same function in this one; in turn."""
    recipe, guard = recipe_of(MEL), Guard(recipe_of(MEL), limits_of(MEL))
    paths = [str(FOLDER / f"{form}-{MANY}" / f"{n:05d}.{form}") for n in range(200)]

    def rate(ask: Callable[[str], Any]) -> float:
        begun = time.monotonic()
        for path in paths:
            ask(path)
        return len(paths) / (time.monotonic() - begun)

    ways = {
        "guarded": lambda path: guard.spectrograms(path, path, [0]),
        "bare": lambda path: spectrograms(path, path, [0], recipe),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(rate(way))
    guard.close()
    print(f"mel: {form} {found}", file=sys.stderr, flush=True)
    return {name: median(rates) for name, rates in found.items()}


def small() -> dict[str, float]:
    """Run the job over many WAV files of four seconds; return what it took, and the files of the table."""
    folder = FOLDER / "small"
    folder.mkdir()
    for n in range(DISTINCT):
        write(folder / f"{n}.wav", "wav", sound(4, np.random.default_rng(n)))
    link(folder, "wav", SMALL)
    found = job("wav", SMALL)
    parts = sum(1 for _ in (FOLDER / "lake" / "mel").rglob("*.parquet"))
    return {**found, "files": SMALL, "parquet_files": parts}


def main(path: str) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    formats = {form: compare(form) for form in FORMATS}
    lengths, guards = ({form: measure(form) for form in FORMATS} for measure in (by_length, guarded))
    save(path, {"machine": machine(), "formats": formats, "lengths": lengths, "guard": guards, "small": small()})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
