"""Find the files that a batch reads: list them, skip known contents, and inspect the rest on executors.

A file belongs to the earliest batch that saw it. Only that batch (a rerun) or an earlier one (a backfill, which takes
it over) reads a file of an event log again. The counts of a snapshot belong to the latest batch that saw them,
so every batch reads all snapshots below its path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException, IllegalArgumentException
from pyspark.sql import DataFrame, DataFrameReader, Row, SparkSession
from pyspark.sql import functions as F

from etude.config.listening import of_batch
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.frames import small_frame
from etude.listening.formats import FileFormat
from etude.listening.layout import Layout
from etude.listening.lines import LongLine
from etude.listening.look import READ_ERRORS, Look, find_layout, look_at
from etude.storage import exists, for_spark, literal, to_uri

_MOST_SLICES = 1000
_NO_FILE = ("PATH_NOT_FOUND", "UNABLE_TO_INFER_SCHEMA")


@dataclass(frozen=True)
class InputFile:
    """Describe one file to read."""

    uri: str
    """Escaped URI, as in Spark's `_metadata.file_path`."""
    path: str
    """Path for Spark's readers."""
    name: str
    """Path below the input's folder, @, first 16 digits of the content hash: `2026-01-31/log.tsv@9f86d081884c7d65`."""
    content: str
    """Hash of its bytes and of the values in its folders' names."""
    size: int
    modified_at: datetime
    layout: Layout
    long_lines: tuple[LongLine, ...]
    partition: Mapping[str, str | None]
    """Values in the names of its folders, by column."""
    first_batch: date
    last_batch: date
    known_first: date | None
    """First batch before this run; None if the content is new."""
    taken_at: datetime
    """Time at which a batch first read this content; plays later than it (plus a tolerance) lie in the future."""


@dataclass(frozen=True)
class Taken:
    """Hold the files of a batch."""

    read: tuple[InputFile, ...]
    copies: tuple[InputFile, ...]
    """Files whose content is known from other files; recorded, so that later batches needn't open them."""
    skipped: int
    """Number of files listed but not read, copies included."""
    touched_batches: frozenset[date]
    """Batch dates whose rows the files change: this batch, and those from which it takes files over."""


@dataclass(frozen=True)
class Listing:
    """Hold the non-empty files of a path, without hidden ones."""

    path: str
    """Path as in the settings."""
    files: tuple[Row, ...]
    """uri, path, length (bytes), modified."""


_LISTED = "uri string, path string, length bigint, modified timestamp"


def take_files(
    spark: SparkSession,
    listed: Listing,
    form: FileFormat,
    known: DataFrame | None,
    batch: date,
    now: datetime,
    key: bytes | None = None,
    snapshot: bool = False,
) -> Taken:
    """Find the files of a batch.

    Args:
        spark: the session.
        listed: all files of the path.
        form: their format.
        known: rows of `ingested_files` of this source, or None.
        batch: the batch date.
        now: the time of the run, with its zone.
        key: user key; content hashes are then HMACs.
        snapshot: whether counts of later batches replace those of earlier ones.

    Raises:
        DataCheckError: a file's content doesn't match its name or format.
    """
    rows = list(listed.files)
    if known is not None and not snapshot:
        # Files of an event log that are unchanged since an earlier batch aren't opened.
        earlier = known.where(F.col("first_batch_date") < F.lit(batch))
        unchanged = earlier.select("path", F.col("size").alias("length"), F.col("modified_at").alias("modified"))
        there = small_frame(spark, rows, _LISTED)
        rows = there.join(unchanged, ["path", "length", "modified"], "left_anti").select(*there.columns).collect()
    root = name_root(listed.path)
    found = look_at_all(spark, [row["uri"] for row in rows], form, key)
    looks = {uri: _with_partition(look, root) for uri, look in found.items()}
    history = {} if known is None else _history(spark, known, [look.content for look in looks.values()])
    read: dict[str, InputFile] = {}
    copies: list[InputFile] = []
    for row in sorted(rows, key=lambda row: row["uri"]):
        look = looks[row["uri"]]
        first, last, taken_at = history.get(look.content, (batch, batch, now))
        known_first = first if look.content in history else None
        name = f"{relative_name(look.uri, root)}@{look.content[:16]}"
        earliest = min(batch, first)
        file = InputFile(
            look.uri, row["path"], name, look.content, row["length"], row["modified"], look.layout, look.long_lines,
            partition_of(look.uri, root), earliest, max(batch, last) if snapshot else earliest, known_first, taken_at,
        )  # fmt: skip
        if form.kind == "delimited" and not look.layout.width:
            continue  # only blank lines
        if (first < batch and not snapshot) or look.content in read:
            copies.append(file)
        else:
            read[look.content] = file
    touched = {batch} | {file.known_first for file in read.values() if file.known_first}
    return Taken(tuple(read.values()), tuple(copies), len(listed.files) - len(read), frozenset(touched))


def first_layout(listed: Listing, form: FileFormat) -> Layout:
    """Find the layout of the first file by name that isn't blank, reading only its beginning.

    Raises:
        InputMissingError: all files are blank.
        DataCheckError: the file's content doesn't match its name or format.
    """
    for uri in sorted(row["uri"] for row in listed.files):
        try:
            layout = find_layout(uri, form)
        except READ_ERRORS as error:
            raise DataCheckError(f"{unquote(uri)}: {str(error).splitlines()[0]}") from error
        if layout.width or form.kind == "json":
            return replace(layout, partitions=tuple(partition_of(uri, name_root(listed.path))))
    raise InputMissingError(f"{listed.path}: its files hold only blank lines; expected records")


def list_files(spark: SparkSession, path: str, batch: date) -> Listing:
    """List the files of a path, which may hold {batch_date}.

    A path that exists is read as it stands; otherwise it is a pattern. The driver holds the list, as it does for
    Spark's scans.

    Raises:
        InputMissingError: there are no files.
        SettingsError: the path or a file's name is one that Spark can't read.
    """
    asked = of_batch(path, batch)
    there = exists(asked)
    if not there and "**" in asked:
        raise SettingsError(f"{asked}: ** is not supported; give the folder, which is read with all its levels")
    pattern = literal(for_spark(asked)) if there else for_spark(asked)
    try:
        found = reader(spark).format("binaryFile").option("recursiveFileLookup", "true").load(pattern)
    except AnalysisException as error:
        if error.getCondition() in _NO_FILE:
            raise InputMissingError(f"{asked}: no such file or folder") from error
        raise
    except IllegalArgumentException as error:
        raise SettingsError(
            f"{asked}: {str(error).splitlines()[0]}; a pattern can't match names with a colon: give the folder"
        ) from error
    # Without the column `content` Spark lists the files and doesn't read them.
    uri, modified = F.col("_metadata.file_path").alias("uri"), F.col("modificationTime").alias("modified")
    # Spark's scans, and so its listings, omit empty files.
    files = found.select(uri, "path", "length", modified).collect()
    if not files:
        raise InputMissingError(
            f"{asked}: no files found, or only empty ones, or hidden ones (Spark takes a name that begins with _ or . "
            "for one: rename it)"
        )
    return Listing(path, tuple(files))


def look_at_all(
    spark: SparkSession, uris: Sequence[str], form: FileFormat, key: bytes | None = None
) -> dict[str, Look]:
    """Inspect files on executors.

    Returns:
        URI -> its `Look`.

    Raises:
        DataCheckError: some files can't be read in this format; the message names the first.
    """
    if not uris:
        return {}
    slices = spark.sparkContext.parallelize(uris, min(len(uris), _MOST_SLICES))
    looks = slices.map(lambda uri: look_at(uri, form, key)).collect()
    broken = sorted((look for look in looks if look.problem), key=lambda look: look.uri)
    if broken:
        more = f" (and {len(broken) - 1} more files)" if len(broken) > 1 else ""
        raise DataCheckError(f"{unquote(broken[0].uri)}{more}: {broken[0].problem}")
    return {look.uri: look for look in looks}


def reader(spark: SparkSession) -> DataFrameReader:
    """Return a reader of input files, which may have any name.

    Hadoop's usual local file system looks for a file of checksums beside each file, and fails if a name has a colon.
    """
    raw = "org.apache.hadoop.fs.RawLocalFileSystem"
    return spark.read.options(**{"fs.file.impl": raw, "fs.file.impl.disable.cache": "true"})


def _with_partition(look: Look, root: str) -> Look:
    """Add the values in a file's folder names to its layout, and to its content, since they are part of its records."""
    values = partition_of(look.uri, root)
    if not values:
        return look
    content = hashlib.sha256(f"{look.content} {sorted(values.items())}".encode()).hexdigest()
    return replace(look, content=content, layout=replace(look.layout, partitions=tuple(values)))


def partition_of(uri: str, root: str) -> dict[str, str | None]:
    """Return the columns in the names of a file's folders below `root`, as Hive and Spark write them.

    >>> partition_of("file:///log/date=2026-01-31/user=a%2520b/x.parquet", "file:///log")
    {'date': '2026-01-31', 'user': 'a b'}
    """
    folders = relative_name(uri, root).split("/")[:-1]
    pairs = (folder.split("=", 1) for folder in folders if re.match(r"[^=]+=", folder))
    return {unquote(name): None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for name, value in pairs}


def _history(spark: SparkSession, known: DataFrame, contents: Iterable[str]) -> dict[str, tuple[date, date, datetime]]:
    """Return the first and last batch of each known content, and the time at which it was first read."""
    asked = small_frame(spark, [(content,) for content in set(contents)], "content string")
    rows = (
        known.join(F.broadcast(asked), known["content_sha256"] == asked["content"], "left_semi")
        .groupBy("content_sha256")
        .agg(F.min("first_batch_date"), F.max("last_batch_date"), F.min("taken_at"))
        .collect()
    )
    return {content: (first, last, taken_at) for content, first, last, taken_at in rows}


def name_root(path: str) -> str:
    """Return the base folder of file names: the parent of the first varying part of `path`, or of its last part.

    >>> name_root("s3a://logs/in/{batch_date}/*.tsv"), name_root("/data/log.tsv")
    ('s3a://logs/in', 'file:///data')
    """
    fixed = re.split(r"[{*?\[]", path.rstrip("/"), maxsplit=1)[0]
    folder = fixed.rpartition("/")[0]
    return to_uri(folder or ("/" if fixed.startswith("/") else "."))


def relative_name(uri: str, root: str) -> str:
    """Return the path of a file below `root`, or its last part if it lies elsewhere (behind a link)."""
    path, folder = unquote(urlsplit(uri).path), unquote(urlsplit(root).path).rstrip("/") + "/"
    return path[len(folder) :] if path.startswith(folder) else path.rpartition("/")[2]
