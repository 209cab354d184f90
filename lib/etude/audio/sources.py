"""List the audio files of a manifest, a folder or `tracks`, each with its size and modification time."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException, fs
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etude import storage
from etude.audio.files import Found, Place, as_text, find, list_folder, local_path, normal_uri
from etude.audio.refusal import RefusedError
from etude.audio.spread import task_count
from etude.config.audio import AudioColumns, AudioSettings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.pseudonym import BLANKS
from etude.storage import literal

# One row per manifest row or file. Either file_size and file_mtime_us are set, or reason and detail.
_FILES = (
    "track_id string, path string, audio_uri string, file_size bigint, file_mtime_us bigint, "
    "reason string, detail string"
)
_BATCH_ROWS = 4096
# A path takes a microsecond (local) to some milliseconds (object stores): a task of this size ends within seconds.
_PATHS_A_TASK = 2048


@dataclass(frozen=True)
class AudioSource:
    """Hold the name and the files of an audio source.

    name: value of `rejects.source`. files: track_id, path, audio_uri, file_size (bytes), file_mtime_us (microseconds
    since 1970), reason and detail.
    """

    name: str
    files: DataFrame


def audio_source(spark: SparkSession, audio: AudioSettings, tracks: Callable[[], DataFrame]) -> AudioSource:
    """List the manifest if set, otherwise the folder if set, otherwise audio_uri of `tracks` (read only in that case).

    Raises:
        SettingsError: the manifest isn't a readable file, or the folder isn't a readable folder.
        InputMissingError: the manifest or folder doesn't exist, or no audio is configured.
        DataCheckError: the manifest lacks a column.
    """
    allowed = None if audio.allowed_roots is None else tuple(map(normal_uri, audio.allowed_roots))
    if audio.manifest:
        name = normal_uri(audio.manifest)
        local = local_path(name)
        if local is not None:
            _check_local("audio.manifest", audio.manifest, local, folder=False)
        rows = _manifest(spark, audio.manifest, audio.columns)
        return AudioSource(name, _located(rows, rows.count(), Place(posixpath.dirname(name), allowed)))
    if audio.root:
        root = normal_uri(audio.root)
        local = local_path(root)
        if local is None:
            _check_remote_folder("audio.root", audio.root, root)
        else:
            _check_local("audio.root", audio.root, local, folder=True)
        place = Place(root, allowed)
        return AudioSource(root, _folder(spark, audio, place))
    named = tracks().where(F.col("audio_uri").isNotNull()).select("track_id", F.col("audio_uri").alias("path"))
    n_named = named.count()
    if not n_named:
        raise InputMissingError(
            "no audio found: audio.manifest and audio.root are not set, and no track has an audio_uri; set one of them "
            "or add audio paths to the catalogue"
        )
    return AudioSource("tracks.audio_uri", _located(named, n_named, Place(None, allowed)))


def _check_local(setting: str, given: str, local: str, *, folder: bool) -> None:
    """Check that the local path of a setting is a folder or file that can be read."""
    wanted = "folder" if folder else "CSV file"
    path = Path(local)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            found = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "pipe or device"
            raise SettingsError(f"{setting}={given}: this is a {found}; expected a {wanted}")
        if folder:
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except FileNotFoundError as error:
        if path.is_symlink():
            target = as_text(str(path.readlink()))
            raise SettingsError(
                f"{setting}={given}: a link to {target}, which doesn't exist; expected a {wanted}"
            ) from error
        raise InputMissingError(f"{setting}={given}: no such {wanted}") from error
    except OSError as error:
        raise SettingsError(f"{setting}={given}: {error.strerror}; expected a {wanted} that can be read") from error


def _check_remote_folder(setting: str, given: str, uri: str) -> None:
    try:
        system, path = storage.filesystem(uri)
    except (ArrowException, ValueError) as error:
        raise SettingsError(f"{setting}={given}: {error}; expected the URI of a folder") from error
    kind = system.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise InputMissingError(f"{setting}={given}: no such folder")
    if kind == fs.FileType.File:
        raise SettingsError(f"{setting}={given}: this is a file; expected a folder")


def _manifest(spark: SparkSession, path: str, columns: AudioColumns) -> DataFrame:
    uri = normal_uri(path)
    local = local_path(uri)
    # Spark doesn't decode the escapes of a URI, and reads brackets and stars as a glob pattern.
    taken_literally = literal(storage.for_spark(uri) if local is None else f"file://{local}")
    try:
        # Spark's default escape, the backslash, misreads the quoted fields of RFC 4180.
        rows = spark.read.csv(taken_literally, header=True, escape='"', quote='"', encoding="UTF-8")
    except AnalysisException as error:
        raise InputMissingError(f"audio.manifest={path}: {str(error).splitlines()[0]}") from error
    if not rows.columns:
        raise InputMissingError(f"audio.manifest={path}: the file is empty")
    rows = rows.toDF(*(name.strip(BLANKS) for name in rows.columns))
    missing = [name for name in (columns.track, columns.path) if name not in rows.columns]
    if missing:
        raise DataCheckError(
            f"audio.manifest={path}: no column {', '.join(missing)} (set audio.columns); "
            f"the file has {', '.join(rows.columns)}"
        )
    # As in a log: a blank around an id would make it another track's.
    return rows.select(
        F.btrim(F.col(f"`{columns.track}`"), F.lit(BLANKS)).alias("track_id"),
        F.btrim(F.col(f"`{columns.path}`"), F.lit(BLANKS)).alias("path"),
    )


def _located(rows: DataFrame, n_rows: int, place: Place) -> DataFrame:
    """Look up every file on the executors, because a manifest of 400,000 rows needs 400,000 stat calls."""
    spread = rows.repartition(task_count(rows.sparkSession, n_rows, _PATHS_A_TASK))

    def locate(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield _frame([_row(t, p, place) for t, p in zip(batch["track_id"], batch["path"], strict=True)])

    return spread.mapInPandas(locate, _FILES)


def _row(track_id: str | None, path: str | None, place: Place) -> tuple[str | None, str | None, Found | RefusedError]:
    if not track_id or not path:
        # Use None for empty values too, so that their rejects are numbered together.
        return track_id or None, path or None, RefusedError("bad_row", "track id or path is missing")
    try:
        return track_id, path, find(path, place)
    except RefusedError as refused:
        return track_id, path, refused


def _folder(spark: SparkSession, audio: AudioSettings, place: Place) -> DataFrame:
    """List the whole folder in one task (100,000 files take about a second), so that the driver never holds it."""
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
