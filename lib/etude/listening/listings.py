"""Read the files beside the log, catalogues and lists of aliases, which every run reads whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from etude.lake.staging import Staging
from etude.listening.cleaning import detail
from etude.listening.columns import Wanted, resolve, wanted_columns
from etude.listening.files import first_layout, list_files, take_files
from etude.listening.formats import Columns, FileFormat
from etude.listening.identity import Pads, locator
from etude.listening.parsers import HEADER, Places
from etude.listening.records import read_records, reading_files


@dataclass(frozen=True)
class Listing:
    """Describe the files of a source."""

    path: str
    form: FileFormat
    columns: Columns
    """The columns that are given."""
    section: str
    """The name of their settings, for messages."""
    kind: str
    """catalogue or aliases."""
    roles: Sequence[str]
    """Roles that the records have in any case; null where the files lack them."""


Judge = Callable[[DataFrame, Mapping[str, Places]], DataFrame]
"""Adds the reject reason to records, of which it is told the places of the roles by file."""


def read_listing(
    staging: Staging, listing: Listing, judge: Judge, batch: date, now: datetime, key: bytes | None
) -> tuple[DataFrame, Sequence[str], Wanted]:
    """Return the judged records of a source, staged; the roles that they have; and the column of each role.

    Raises:
        InputMissingError: there is no file.
        SettingsError: a requested column is missing.
        DataCheckError: the columns differ between its files.
    """
    spark, form = staging.spark, listing.form
    listed = list_files(spark, listing.path, batch)
    first = first_layout(listed, form)
    lenient = form.kind == "json"
    wanted = wanted_columns(listing.section, listing.kind, listing.columns, first, lenient, keyed=key is not None)
    taken = take_files(spark, listed, form, None, batch, now, key)
    places = resolve(wanted, {file.name: file.layout for file in taken.read})
    asked = sorted({role for place in places.values() for role in place} | set(listing.roles))
    pads = None if key is None else Pads.of(key)
    with reading_files(spark):
        records = read_records(spark, taken.read, places, form, asked, pads).drop("inner_pad", "outer_pad")
        return staging.keep(judge(records, places)), asked, wanted


def rejects_of(judged: DataFrame, source: str, batch: date) -> DataFrame:
    """Return the rejected rows of a source, as `rejects` holds them; a file's first header is none."""
    refused = judged.where(F.col("reason").isNotNull())
    equals = Window.partitionBy("file", "record").orderBy(F.lit(0))
    numbered = refused.withColumn("ordinal", F.row_number().over(equals) - 1)
    is_header = F.col("reason") == HEADER
    reason = F.when(is_header, "repeated_header").otherwise(F.col("reason"))
    return numbered.where(~is_header | (F.col("ordinal") > 0)).select(
        F.lit(source).alias("source"),
        locator(F.col("file"), F.col("record"), F.col("ordinal")).alias("locator"),
        F.col("shown").alias("raw"),
        reason.alias("reason"),
        detail(reason).alias("detail"),
        F.lit(batch).alias("batch_date"),
    )


def all_rejects(rejects: Sequence[DataFrame], known: DataFrame) -> DataFrame:
    """Return the rejects of sources, each with its earliest batch date, independent of the order of the batches.

    Args:
        rejects: those of sources just read, at least one.
        known: ingest's rejects in the lake.
    """
    rows = reduce(DataFrame.unionByName, rejects)
    before = known.select("source", "locator", F.col("batch_date").alias("before"))
    joined = rows.join(before, ["source", "locator"], "left")
    return joined.withColumn("batch_date", F.least("batch_date", "before")).drop("before")
