"""Read one batch of a log: its files, and their records, each accepted or rejected."""

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
    """Hold a batch as read: the log's properties, its files, and their records."""

    log: Log
    taken: Taken
    columns: Wanted
    rows_in: int
    """Number of records in the files, counted independently of the parser."""
    numbered: DataFrame
    """Result of `number_records`, staged."""


def read_batch(
    staging: Staging,
    settings: ListeningSettings,
    files: DataFrame,
    batch: date,
    now: datetime,
    key: bytes | None,
) -> Batch:
    """Read the log's new files and those this batch read before, and judge every record.

    Args:
        staging: keeps the records.
        settings: path and format of the log, and the limits on plays.
        files: the table `ingested_files`, all sources.
        batch: the batch date.
        now: the time of the run, with its zone.
        key: user key, or None.

    Raises:
        SettingsError: no path is set, the time pattern is invalid, a requested column is missing, or plays of a day are
            limited in a log without times.
        InputMissingError: there is no file.
        DataCheckError: files changed their columns, or the lake holds user ids of any log under another key.
    """
    if settings.path is None:
        raise SettingsError("listening.path: not set; set it to the file, folder or URI of the listening log")
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
    if key is not None and str(wanted.columns["user"]) in first.partitions:
        raise SettingsError(
            "listening.columns.user: the users' ids are in names of folders, which locators show; expected them inside "
            "the files, since ETUDE_USER_KEY is set"
        )
    for way in earlier:
        if not way["only_here"]:  # a rerun of this batch may assign other columns
            check_same_roles(wanted, dict(way["columns"]))
    snapshot = "played_at" not in wanted.columns
    counted = settings.count_rows and not {"play_count", "event"} & set(wanted.columns)
    log = Log(settings.source, snapshot, settings.dedup_days, "event" in wanted.columns, counted)
    if snapshot and settings.max_plays_per_user_day is not None:
        raise SettingsError(
            f"listening.max_plays_per_user_day={settings.max_plays_per_user_day}: the log has no times, so its plays "
            "have no days; set max_plays_per_user"
        )
    known = files.where(F.col("source") == settings.source) if earlier else None
    taken = take_files(spark, listed, form, known, batch, now, key, snapshot)
    places = resolve(wanted, {file.name: file.layout for file in taken.read})
    if not taken.read:
        return Batch(log, taken, wanted, 0, small_frame(spark, [], _NOTHING))
    pads = None if key is None else Pads.of(key)
    with reading_files(spark):
        records = read_records(spark, taken.read, places, form, LOG_ROLES, pads)
        judged = clean(records, settings, frozenset(wanted.columns), keyed=key is not None)
        numbered = reject_bots(number_records(judged, snapshot, counted), settings)
        return Batch(log, taken, wanted, count_records(spark, taken.read, form), staging.keep(numbered))


def _entries(column: str) -> Column:
    """Return a map as sorted pairs, which can be compared."""
    return F.array_sort(F.map_entries(column)).alias(column)


_NOTHING = (
    "file string, first_batch date, last_batch date, record bigint, reason string, raw string, event_id string, "
    "user_id string, track_id string, played_at timestamp, play_count bigint, title string, artist string, "
    "artist_id string, ordinal int, earliest date"
)


def _check_key(key_ids: Collection[str | None], key: bytes | None) -> None:
    """Check that the lake's user ids have this key: without it raw ids enter the lake and all users become new."""
    others = [other for other in key_ids if other != key_id(key)]
    if not others:
        return
    there = "without ETUDE_USER_KEY" if None in others else "with another ETUDE_USER_KEY"
    here = "none is set now" if key is None else "one is set now"
    advice = "unset it" if None in others else "set the earlier key"
    raise DataCheckError(
        f"earlier batches in this lake were read {there}, and {here}: user ids would not match; {advice} or use "
        "another lake"
    )


_DAY_S = 86_400
_MIDNIGHTS = 2
"""Times of the day in UTC that midnight of one place may have: the clocks are changed."""


def check_repeats(repeats: int, numbered: DataFrame, columns: Wanted, settings: ListeningSettings) -> str | None:
    """Check that no plays are taken for repeats because the log's times aren't read, or are days.

    Args:
        repeats: number of rows rejected as duplicate.
        numbered: the batch's records.
        columns: the columns read.
        settings: the settings of the log.

    Returns:
        A hint if rows repeat the user and track of others, in a log without counts whose times, if any, are days.

    Raises:
        DataCheckError: such a log has a column of times, which the guess of columns left out.
    """
    if not repeats or settings.count_rows or {"play_count", "event"} & set(columns.columns):
        return None
    if "played_at" in columns.columns:
        times = numbered.where("reason = 'duplicate'").select(F.unix_timestamp("played_at") % _DAY_S).distinct()
        if not 0 < times.limit(_MIDNIGHTS + 1).count() <= _MIDNIGHTS:
            return None
        return (
            f"{repeats} rows repeat a user, track and day, in a log of days without times: each counts as 1 play; if "
            "each row is a play, set listening.count_rows=true"
        )
    found = f"{repeats} rows repeat a user and track, in a log without times and counts"
    if columns.guessed and columns.times and not columns.keyed:
        given = " ".join(f"{columns.section}.{role}={column}" for role, column in columns.columns.items())
        raise DataCheckError(
            f"{settings.path}: {found}; expected times: column {columns.times[0]} holds some and is not read; set "
            f"{given} {columns.section}.played_at={columns.times[0]}, or listening.count_rows=true if rows are plays"
        )
    return f"{found}: each pair counts as 1 play; if each row is a play, set listening.count_rows=true"


def check_balance(rows_in: int, kept: int, rejected: dict[str, int], most_rejected: float, path: str) -> None:
    """Check that every record is a kept play or a reject, and that the share of rejects is within its limit.

    Raises:
        DataCheckError: records were lost or duplicated, or a share above `most_rejected` was rejected (repeats
            excepted).
        InputMissingError: there were records, and all were rejected, none of them as a repeat.
    """
    refused = sum(rejected.values())
    if rows_in != kept + refused:
        raise DataCheckError(
            f"{path}: {rows_in} rows read, but {kept} plays kept and {refused} rejected; expected the sum to match "
            "(did the files change during the run?); run the batch again"
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    wrong = refused - rejected.get("duplicate", 0)
    if rows_in and wrong == rows_in:
        raise InputMissingError(f"{path}: all {rows_in} rows were rejected: {reasons}")
    if wrong > most_rejected * rows_in:
        raise DataCheckError(
            f"{path}: {wrong} of {rows_in} rows rejected, above listening.max_reject_share={most_rejected:g}: {reasons}"
        )


def file_rows(spark: SparkSession, source: str, taken: Taken, wanted: Wanted, key: bytes | None) -> DataFrame:
    """Return rows of `ingested_files` for the files that a batch read or recognised as copies."""
    columns = [(role, str(column)) for role, column in wanted.columns.items()]

    def row(file: InputFile) -> tuple[object, ...]:
        return (
            source, file.path, file.content, file.name, file.size, file.modified_at,
            file.first_batch, file.last_batch, file.taken_at, columns, key_id(key),
        )  # fmt: skip

    return small_frame(spark, [row(file) for file in (*taken.read, *taken.copies)], INGESTED_FILES.schema)
