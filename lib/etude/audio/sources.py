"""Which audio there is: the rows of a manifest, of a folder or of `tracks`, each with its file's size and age."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.audio.files import Found, Place, as_text, find, list_folder, local_path, normal_uri
from etude.audio.refusal import RefusedError
from etude.audio.spread import task_count
from etude.config.audio import AudioColumns, AudioSettings
from etude.errors import DataCheckError, InputMissingError
from etude.storage import exists, literal

# One row a manifest row or file. Either file_size and file_mtime_us are known, or reason and detail say why not.
_FILES = (
    "track_id string, path string, audio_uri string, file_size bigint, file_mtime_us bigint, "
    "reason string, detail string"
)
_BATCH_ROWS = 4096
# A path costs from a microsecond (local) to some milliseconds (object stores): a task of so many ends within seconds.
_PATHS_A_TASK = 2048


@dataclass(frozen=True)
class AudioSource:
    """Where the rows come from.

    name goes into `rejects.source`; files has the columns track_id, path, audio_uri, file_size (bytes), file_mtime_us,
    reason and detail.
    """

    name: str
    files: DataFrame


def audio_source(spark: SparkSession, audio: AudioSettings, tracks: Callable[[], DataFrame]) -> AudioSource:
    """The manifest, else the folder, else audio_uri of `tracks` (which is read only then).

    Raises:
        InputMissingError: the manifest or folder isn't there, or nothing names any audio.
        DataCheckError: the manifest lacks a column.
    """
    allowed = None if audio.allowed_roots is None else tuple(map(normal_uri, audio.allowed_roots))
    if audio.manifest:
        name = normal_uri(audio.manifest)
        rows = _manifest(spark, audio.manifest, audio.columns)
        return AudioSource(name, _located(rows, rows.count(), Place(posixpath.dirname(name), allowed)))
    if audio.root:
        root = normal_uri(audio.root)
        if not exists(root):
            raise InputMissingError(f"audio.root={audio.root}: no such folder")
        place = Place(root, allowed)
        return AudioSource(root, _folder(spark, audio, place))
    named = tracks().where(F.col("audio_uri").isNotNull()).select("track_id", F.col("audio_uri").alias("path"))
    n_named = named.count()
    if not n_named:
        raise InputMissingError("no audio is named: set audio.manifest or audio.root, or audio_uri in the catalogue")
    return AudioSource("tracks.audio_uri", _located(named, n_named, Place(None, allowed)))


def _manifest(spark: SparkSession, path: str, columns: AudioColumns) -> DataFrame:
    uri = normal_uri(path)
    local = local_path(uri)
    # Spark takes a path literally where a URI has escapes, and as a pattern where it has brackets or stars.
    taken_literally = literal(uri if local is None else f"file://{local}")
    try:
        # Spark's default escape, the backslash, would misread quoted fields as RFC 4180 writes them.
        rows = spark.read.csv(taken_literally, header=True, escape='"', quote='"', encoding="UTF-8")
    except AnalysisException as error:
        raise InputMissingError(f"audio.manifest={path}: {str(error).splitlines()[0]}") from error
    if not rows.columns:
        raise InputMissingError(f"audio.manifest={path}: the file is empty")
    missing = [name for name in (columns.track, columns.path) if name not in rows.columns]
    if missing:
        raise DataCheckError(
            f"audio.manifest={path}: no column {', '.join(missing)} (set audio.columns); "
            f"it has {', '.join(rows.columns)}"
        )
    return rows.select(
        F.col(f"`{columns.track}`").alias("track_id"),
        F.col(f"`{columns.path}`").alias("path"),
    )


def _located(rows: DataFrame, n_rows: int, place: Place) -> DataFrame:
    """Looks every file up, on the executors: a manifest of 400,000 rows is 400,000 calls of stat."""
    spread = rows.repartition(task_count(rows.sparkSession, n_rows, _PATHS_A_TASK))

    def locate(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield _frame([_row(t, p, place) for t, p in zip(batch["track_id"], batch["path"], strict=True)])

    return spread.mapInPandas(locate, _FILES)


def _row(track_id: str | None, path: str | None, place: Place) -> tuple[str | None, str | None, Found | RefusedError]:
    if not track_id or not path:
        # One form for what is missing: its rejects are numbered together.
        return track_id or None, path or None, RefusedError("bad_row", "track id or path is missing")
    try:
        return track_id, path, find(path, place)
    except RefusedError as refused:
        return track_id, path, refused


def _folder(spark: SparkSession, audio: AudioSettings, place: Place) -> DataFrame:
    """One task lists the whole folder (100,000 files in about a second), so the driver never holds the list."""
    suffixes = tuple(suffix.lower() for suffix in audio.suffixes)
    keep_suffix = audio.keep_suffix
    assert place.base is not None
    root = place.base

    def listing(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for _ in batches:
            rows = []
            for name, found in list_folder(root, suffixes, place):
                path = as_text(name)
                rows.append((path if keep_suffix else posixpath.splitext(path)[0], path, found))
                if len(rows) == _BATCH_ROWS:
                    yield _frame(rows)
                    rows = []
            yield _frame(rows)

    return spark.range(1, numPartitions=1).mapInPandas(listing, _FILES)


def _frame(rows: Sequence[tuple[str | None, str | None, Found | RefusedError]]) -> pd.DataFrame:
    flat = [
        (track, path, found.uri, found.size, found.mtime_us, None, None)
        if isinstance(found, Found)
        else (track, path, None, None, None, found.reason, found.detail)
        for track, path, found in rows
    ]
    names = ["track_id", "path", "audio_uri", "file_size", "file_mtime_us", "reason", "detail"]
    return pd.DataFrame(flat, columns=names).astype({"file_size": "Int64", "file_mtime_us": "Int64"})
