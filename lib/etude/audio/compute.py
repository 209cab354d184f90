"""Compute mel rows and refusals from files, in a pandas function over Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from pyspark import Accumulator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.audio.child import Limits
from etude.audio.features import Outcome, Refusal
from etude.audio.files import fetch, local_path
from etude.audio.guard import Guard, shared_guard
from etude.audio.recipe import Recipe
from etude.audio.refusal import RefusedError
from etude.audio.spread import task_count
from etude.config.audio import MelSettings

# A task of this many files takes about a second: short enough for an even spread, long enough for a small overhead.
FILES_A_TASK = 256
# Rows per Arrow batch of results; a row has 24 KB with the default settings.
_ROWS_A_BATCH = 64

_RESULT = (
    "track_id string, crop int, mel array<float>, n_mels int, n_frames int, offset_s double, duration_s double, "
    "content_sha256 string, path string, audio_uri string, file_size bigint, file_mtime_us bigint, "
    "reason string, detail string"
)
_NAMES = [column.split()[0] for column in _RESULT.split(", ")]


def recipe_of(mel: MelSettings) -> Recipe:
    """Return the recipe for these settings."""
    return Recipe(**mel.recipe)


def limits_of(mel: MelSettings) -> Limits:
    """Return the limits for these settings."""
    return Limits(mel.time_limit_s, mel.memory_mb, mel.max_file_mb << 20, mel.fallback == "ffmpeg")


def compute(files: DataFrame, n_files: int, mel: MelSettings, done: Accumulator[int]) -> DataFrame:
    """Compute one row per requested crop: a mel row (reason null) or a refusal (mel null).

    Args:
        files: the columns of plan.asked_files.
        n_files: number of rows of `files`.
        mel: recipe and limits.
        done: counts finished files.

    Returns:
        track_id, crop, mel (float32, n_mels x n_frames, flattened row by row), n_mels, n_frames, offset_s, duration_s,
        content_sha256, the file's path, audio_uri, file_size (bytes) and file_mtime_us, reason, detail.
    """
    recipe, limits = recipe_of(mel), limits_of(mel)
    tasks = task_count(files.sparkSession, n_files, FILES_A_TASK)

    def rows(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        guard = shared_guard(recipe, limits)
        made: list[tuple] = []
        for batch in batches:
            for file in batch.itertuples(index=False):
                made.extend(_row(file, outcome) for outcome in _outcomes(guard, file))
                done.add(1)
                if len(made) >= _ROWS_A_BATCH:
                    yield pd.DataFrame(made, columns=_NAMES)
                    made = []
        yield pd.DataFrame(made, columns=_NAMES)

    # Partition by hash: a listing groups the formats, and a hash spreads them equally in every attempt.
    return files.repartition(tasks, F.xxhash64("track_id", "audio_uri")).mapInPandas(rows, _RESULT)


def _outcomes(guard: Guard, file: Any) -> list[Outcome]:
    try:
        _check_size(file.audio_uri, file.file_size, guard.limits)
        source = fetch(file.audio_uri, guard.limits.time_limit_s)
    except RefusedError as refused:
        return [Refusal(int(crop), refused.reason, refused.detail) for crop in file.crops]
    return guard.spectrograms(source, file.track_id, [int(crop) for crop in file.crops])


def _check_size(uri: str, size: int, limits: Limits) -> None:
    most = limits.max_bytes if local_path(uri) is not None else min(limits.max_bytes, limits.memory_mb << 19)
    if size > most:
        raise RefusedError("too_large", f"{size / 2**20:.1f} MB; at most {most / 2**20:.1f} MB allowed")


def _row(file: Any, outcome: Outcome) -> tuple:
    identity = (file.path, file.audio_uri, file.file_size, file.file_mtime_us)
    if isinstance(outcome, Refusal):
        nothing = (None,) * 6
        return (file.track_id, outcome.crop, *nothing, *identity, outcome.reason, outcome.detail)
    n_mels, n_frames = outcome.mel.shape
    values = (outcome.mel.ravel(), n_mels, n_frames, outcome.offset_s, outcome.duration_s, outcome.content_sha256)
    return (file.track_id, outcome.crop, *values, *identity, None, None)


def mel_rows(results: DataFrame, mel: MelSettings) -> DataFrame:
    """Select the rows of the table `mel` from the results of `compute`."""
    return results.where(F.col("reason").isNull()).select(
        "track_id",
        "crop",
        F.lit(mel.settings_sha256).alias("settings_sha256"),
        "mel",
        "n_mels",
        "n_frames",
        F.lit(mel.sample_rate).alias("sample_rate"),
        "offset_s",
        "duration_s",
        "audio_uri",
        "file_size",
        F.timestamp_micros("file_mtime_us").alias("file_mtime"),
        "content_sha256",
    )
