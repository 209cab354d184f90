"""Measure what kinds of files cost the mel stage: guarded ones, long ones, and very many small ones.

    python benchmarks/mel_files.py build/bench/mel_files.json

What the decoding process of its own costs beside the same work without it; what a file of an hour costs beside one of
30 seconds; and the job over 100,000 files of four seconds.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _measured import machine, save

import mel
from etude.audio.compute import limits_of, recipe_of
from etude.audio.features import spectrograms
from etude.audio.guard import Guard

FOLDER = Path("build/bench/mel_files")
SMALL, ROUNDS, CROPS = 100_000, 5, 200
SHORT_S, HOUR_S = 30, 3600


def short(form: str) -> tuple[Path, np.ndarray]:
    """Write a file of 30 seconds; return it, and its samples."""
    samples = mel.sound(SHORT_S, np.random.default_rng(1))
    file = FOLDER / f"short.{form}"
    mel.write(file, form, samples)
    return file, samples


def milliseconds(file: Path) -> float:
    """Return the milliseconds for one crop of a file, without a process of its own; the median of some crops."""
    recipe, taken = recipe_of(mel.MEL), []
    for n in range(2 * ROUNDS + 1):
        begun = time.monotonic()
        (found,) = spectrograms(str(file), f"track {n}", [0], recipe)
        taken.append(1000 * (time.monotonic() - begun))
        assert found.mel.size  # no refusal
    return median(taken)


def by_length(form: str) -> dict[str, float]:
    """Return the milliseconds for a file of 30 seconds, and for one of an hour."""
    file, samples = short(form)
    hour = FOLDER / f"hour.{form}"
    mel.write(hour, form, samples, HOUR_S // SHORT_S)
    found = {"short_ms": milliseconds(file), "hour_ms": milliseconds(hour)}
    hour.unlink()
    print(f"mel_files: {form} {found}", file=sys.stderr, flush=True)
    return found


def guarded(form: str) -> dict[str, float]:
    """Return the crops per second through the decoding process, and of the same function in this one; in turn."""
    file, _ = short(form)
    recipe = recipe_of(mel.MEL)
    guard = Guard(recipe, limits_of(mel.MEL))

    def rate(ask: Callable[[str], Any]) -> float:
        begun = time.monotonic()
        for n in range(CROPS):
            ask(f"track {n}")
        return CROPS / (time.monotonic() - begun)

    ways = {
        "guarded": lambda track: guard.spectrograms(str(file), track, [0]),
        "bare": lambda track: spectrograms(str(file), track, [0], recipe),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            rates[name].append(rate(way))
    guard.close()
    print(f"mel_files: {form} {rates}", file=sys.stderr, flush=True)
    return {name: median(each) for name, each in rates.items()}


def small() -> dict[str, float]:
    """Run the job over many WAV files of four seconds; return what it took, and the files of the table."""
    folder, many = FOLDER / "distinct", FOLDER / "many"
    folder.mkdir()
    for n in range(mel.DISTINCT):
        mel.write(folder / f"{n}.wav", "wav", mel.sound(4, np.random.default_rng(n)))
    mel.link(folder, many, SMALL)
    found = mel.job(many, SMALL, FOLDER / "lake")
    parts = sum(1 for _ in (FOLDER / "lake" / "mel").rglob("*.parquet"))
    return {**found, "files": SMALL, "parquet_files": parts}


def main(path: str) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    found = {form: {**by_length(form), **guarded(form)} for form in mel.FORMATS}
    save(path, {"machine": machine(), "formats": found, "small": small()})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
