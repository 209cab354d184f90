"""Compare the job mel with a bare loop of librosa: decode a window, STFT, mel filters, logarithm.

    python benchmarks/mel.py build/bench/mel.json

Folders of FLAC, Ogg, MP3 and WAV files of one minute, 44.1 kHz, stereo. Both use as many processes as there are cores.
The job's rate is that of additional files: the difference between two jobs, so that the start of Spark doesn't count.
The second peer decodes whole files, as scripts often do.
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
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import librosa
import numpy as np
import soundfile
from _measured import machine, run, save

from etude.config.audio import MelSettings

FOLDER = Path("build/bench/mel")
CORES = len(os.sched_getaffinity(0))
FORMATS = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III", "wav": "PCM_16"}
RATE, SECONDS, DISTINCT = 44_100, 60, 12
FEW, MANY, ALONE = 500, 3_000, 600
"""Files of the two jobs, and of the loop over windows; a third of them of the loop over whole files."""
MEL = MelSettings()


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
        link(folder, FOLDER / f"{form}-{size}", size)


def link(folder: Path, many: Path, size: int) -> None:
    """Link to the files of a folder under many names."""
    files = sorted(folder.iterdir())
    many.mkdir()
    for n in range(size):
        file = files[n % len(files)]
        os.link(file, many / f"{n:06d}{file.suffix}")


def job(files: Path, size: int, lake: Path) -> dict[str, float]:
    """Run the job on a new lake."""
    shutil.rmtree(lake, ignore_errors=True)
    settings = [f"lake.root={lake}", f"audio.root={files}", "--run-id", "bench"]
    command = ["spark-submit", "--master", f"local[{CORES}]", "jobs/mel.py", *settings]
    measured = run(command, lake.parent / "mel.log")
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
    paths = [str(FOLDER / f"{form}-{MANY}" / f"{n:06d}.{form}") for n in range(size)]
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(read, paths[: 4 * CORES]))  # imports and caches
        begun = time.monotonic()
        list(pool.map(read, paths, chunksize=8))
        return size / (time.monotonic() - begun)


def compare(form: str) -> dict[str, Any]:
    make(form)
    few, many = (job(FOLDER / f"{form}-{size}", size, FOLDER / "lake") for size in (FEW, MANY))
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


def main(path: str) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    save(path, {"machine": machine(), "formats": {form: compare(form) for form in FORMATS}})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
