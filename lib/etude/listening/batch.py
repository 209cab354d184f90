"""One batch of a log: its files, and every record of them with a verdict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.config.listening import ListeningSettings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.frames import small_frame
from etude.lake.staging import Staging
from etude.lake.tables import INGESTED_FILES
from etude.listening.cleaning import check_time_pattern, clean
from etude.listening.columns import LOG_ROLES, LOG_SECTION, Wanted, check_same_roles, resolve, wanted_columns
from etude.listening.dedup import number_records, reject_bots
from etude.listening.files import InputFile, Taken, first_layout, list_files, take_files
from etude.listening.formats import log_format
from etude.listening.identity import Pads
from etude.listening.records import count_records, read_records, reading_files
from etude.listening.settle import Log
from etude.pseudonym import key_id


@dataclass(frozen=True)
class Batch:
    """A batch as read: the log's nature, its files, and their records."""

    log: Log
    taken: Taken
    columns: Wanted
    rows_in: int
    """Records in the files, counted apart from the parsing."""
    numbered: DataFrame
    """What `number_records` gives, staged."""


def read_batch(
    staging: Staging,
    settings: ListeningSettings,
    files: DataFrame,
    batch: date,
    now: datetime,
    key: bytes | None,
) -> Batch:
    """Read what is new of the log, or what this batch read before, and judge every record.

    Args:
        staging: keeps the records.
        settings: where the log is, its form, the caps.
        files: the table `ingested_files`, all sources.
        batch: the batch date.
        now: the time of the run, with its zone.
        key: user key, or None.

    Raises:
        SettingsError: there is no path, no such pattern of times, or a column that is asked for isn't there.
        InputMissingError: there is no file.
        DataCheckError: files changed their columns, or the lake holds user ids under another key, of whatever log.
    """
    if settings.path is None:
        raise SettingsError("listening.path: not set; the file, folder or URI of the listening log")
    spark = staging.spark
    if settings.timestamp_format is not None:
        check_time_pattern(spark, settings.timestamp_format)
    only_here = (F.col("first_batch_date") == F.lit(batch)) & (F.col("last_batch_date") == F.lit(batch))
    ways = files.select("source", "key_id", only_here.alias("only_here"), _entries("columns")).distinct().collect()
    _check_key({way["key_id"] for way in ways}, key)
    earlier = [way for way in ways if way["source"] == settings.source]
    form, given = log_format(settings)
    listed = list_files(spark, settings.path, batch)
    first = first_layout(listed, form)
    wanted = wanted_columns(LOG_SECTION, "log", given, first, form.kind == "json", bool(earlier), key is not None)
    for way in earlier:
        if not way["only_here"]:  # this batch run again may mean something else than before
            check_same_roles(wanted, dict(way["columns"]))
    snapshot = "played_at" not in wanted.columns
    log = Log(settings.source, snapshot, settings.dedup_days, "event" in wanted.columns)
    known = files.where(F.col("source") == settings.source) if earlier else None
    taken = take_files(spark, listed, form, known, batch, now, key, snapshot)
    places = resolve(wanted, {file.name: file.layout for file in taken.read})
    if not taken.read:
        return Batch(log, taken, wanted, 0, small_frame(spark, [], _NOTHING))
    pads = None if key is None else Pads.of(key)
    with reading_files(spark):
        records = read_records(spark, taken.read, places, form, LOG_ROLES, pads)
        judged = clean(records, settings, frozenset(wanted.columns), keyed=key is not None)
        numbered = reject_bots(number_records(judged, snapshot), settings)
        return Batch(log, taken, wanted, count_records(spark, taken.read, form), staging.keep(numbered))


def _entries(column: str) -> Column:
    """A map as sorted pairs, which can be compared."""
    return F.array_sort(F.map_entries(column)).alias(column)


_NOTHING = (
    "file string, first_batch date, last_batch date, record bigint, reason string, raw string, event_id string, "
    "user_id string, track_id string, played_at timestamp, play_count bigint, title string, artist string, "
    "artist_id string, ordinal int, earliest date"
)


def _check_key(key_ids: Collection[str | None], key: bytes | None) -> None:
    """One lake has one way of naming users: a forgotten key would bring raw ids in and count everybody anew."""
    others = [other for other in key_ids if other != key_id(key)]
    if not others:
        return
    there = "no ETUDE_USER_KEY" if None in others else "another ETUDE_USER_KEY"
    here = "none is set now" if key is None else "one is set now"
    raise DataCheckError(f"this lake's earlier batches were taken with {there}, and {here}: user ids would not match")


def check_balance(rows_in: int, kept: int, rejected: dict[str, int], most_rejected: float, path: str) -> None:
    """Every record is a kept play or a reject, and not too many are rejects.

    Raises:
        DataCheckError: records got lost or doubled, or more than `most_rejected` of them (repeats aside) are rejects.
        InputMissingError: there were records, and none is left.
    """
    refused = sum(rejected.values())
    if rows_in != kept + refused:
        raise DataCheckError(f"{rows_in} rows in, but {kept} plays kept and {refused} rejected")
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    wrong = refused - rejected.get("duplicate", 0)
    if rows_in and wrong == rows_in:
        raise InputMissingError(f"{path}: all {rows_in} rows were rejected: {reasons}")
    if wrong > most_rejected * rows_in:
        raise DataCheckError(f"{path}: {wrong} of {rows_in} rows rejected, above max_reject_share: {reasons}")


def file_rows(spark: SparkSession, source: str, taken: Taken, wanted: Wanted, key: bytes | None) -> DataFrame:
    """Rows of `ingested_files` for the files that a batch read or recognised."""
    columns = [(role, str(column)) for role, column in wanted.columns.items()]

    def row(file: InputFile) -> tuple[object, ...]:
        return (
            source, file.path, file.content, file.name, file.size, file.modified_at,
            file.first_batch, file.last_batch, file.taken_at, columns, key_id(key),
        )  # fmt: skip

    return small_frame(spark, [row(file) for file in (*taken.read, *taken.copies)], INGESTED_FILES.schema)
