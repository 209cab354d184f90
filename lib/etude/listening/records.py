"""Read the records of files of all formats into one schema; malformed records are kept with their fault."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.listening.files import InputFile, reader
from etude.listening.formats import FileFormat
from etude.listening.identity import Pads, record_hash, with_pads
from etude.listening.layout import Layout
from etude.listening.parsers import TOO_LONG, URI, Places, lines_of, multi_line, parse, paths_of

_SESSION = {"spark.sql.legacy.parquet.nanosAsLong": "true", "spark.sql.caseSensitive": "true"}


def read_records(
    spark: SparkSession,
    files: Iterable[InputFile],
    places: Mapping[str, Places],
    form: FileFormat,
    roles: Sequence[str],
    pads: Pads | None = None,
) -> DataFrame:
    """Read every record of the files, including those that can't be parsed.

    Args:
        spark: the session.
        files: files to read, of one format; layouts may differ.
        places: file name -> role -> position or key.
        form: the format.
        roles: roles that become columns; those without a place are null.
        pads: the user key's pads; record hashes are then keyed, and `shown` holds mapped columns only.

    Returns:
        uri; file (name); first_batch and last_batch (dates); taken_at; record (bigint, hash of the raw record);
        fault (null if the record is well-formed); shown; a text column per role, and the timestamp `played_at_typed`
        (null unless the files hold typed times). With pads also the columns of `with_pads`.
    """
    files = list(files)
    groups: dict[tuple[Layout, tuple[tuple[str, int | str], ...]], list[InputFile]] = defaultdict(list)
    for file in files:
        # JSON needs only the places; the keys of the first lines differ between files.
        layout = Layout() if form.kind == "json" else file.layout
        groups[layout, tuple(sorted(places[file.name].items()))].append(file)
    frames = []
    for (layout, place), members in groups.items():
        inside = {role: at for role, at in place if isinstance(at, str) or at < layout.width}
        parsed = parse(spark, members, layout, inside, form, keyed=pads is not None)
        typed = parsed.fields.pop("played_at_typed", F.lit(None).cast("timestamp"))
        frames.append(
            parsed.rows.select(
                "uri",
                parsed.raw.alias("raw"),
                parsed.fault.alias("fault"),
                parsed.shown.alias("shown"),
                *(parsed.fields.get(role, F.lit(None)).cast("string").alias(role) for role in roles),
                typed.alias("played_at_typed"),
            )
        )
    if any(file.long_lines for file in files):
        frames.append(_long_lines(spark, files, frames[0].schema))
    attributes = small_frame(
        spark,
        [(f.uri, f.name, f.first_batch, f.last_batch, f.taken_at, _partition_values(f, places[f.name])) for f in files],
        "uri string, file string, first_batch date, last_batch date, taken_at timestamp, partition map<string,string>",
    )
    rows = reduce(DataFrame.unionAll, frames).join(F.broadcast(attributes), "uri", "inner")
    partitioned = any(file.partition for file in files)
    rows = rows.withColumns({role: _value(role, partitioned, form.null_words) for role in roles})
    rows = rows.drop("partition")
    if pads is not None:
        rows = with_pads(rows, pads)
    return rows.withColumn("record", record_hash(F.col("raw"), keyed=pads is not None)).drop("raw")


def _value(role: str, partitioned: bool, null_words: Sequence[str]) -> Column:
    """Return a role's text from the record, or else from the folders' names; null if it is a null word."""
    value = F.col(f"`{role}`")
    if partitioned:
        value = F.coalesce(value, F.try_element_at("partition", F.lit(role)))
    return F.when(~F.btrim(value).isin(list(null_words)), value) if null_words else value


def _partition_values(file: InputFile, place: Places) -> dict[str, str]:
    """Return role -> value of the columns that stand in the names of the file's folders."""
    named = {role: file.layout.columns.get(at) if isinstance(at, int) else at for role, at in place.items()}
    own = set(file.layout.names)
    values = {role: file.partition.get(name) for role, name in named.items() if name and name not in own}
    return {role: value for role, value in values.items() if value is not None}


def _long_lines(spark: SparkSession, files: Iterable[InputFile], schema: T.StructType) -> DataFrame:
    """Return the lines that are too long as records; their texts are their places, as nobody reads them."""
    rows = [
        (file.uri, f"{line.start}+{line.length}", TOO_LONG, f"byte {line.start}: a line of {line.length} bytes")
        for file in files
        for line in file.long_lines
    ]
    frame = small_frame(spark, rows, "uri string, raw string, fault string, shown string")
    given = set(frame.columns)
    lacking = (F.lit(None).cast(field.dataType).alias(field.name) for field in schema if field.name not in given)
    return frame.select("*", *lacking).select(*schema.names)


def count_records(spark: SparkSession, files: Sequence[InputFile], form: FileFormat) -> int:
    """Count the files' records in one job, without parsing them if the format allows.

    Raises:
        DataCheckError: a text file isn't blank, and Spark reads nothing from it. Its records would be lost silently.
    """
    if form.kind == "parquet":
        # Without columns, files of all layouts are read at once.
        uris = reader(spark).schema(T.StructType()).parquet(*paths_of(files)).select(F.col(URI).alias("uri"))
    elif form.multi_line:
        groups: dict[Layout, list[InputFile]] = defaultdict(list)
        for file in files:
            groups[file.layout].append(file)
        frames = (multi_line(spark, members, layout, form).select("uri") for layout, members in groups.items())
        uris = reduce(DataFrame.unionAll, frames)
    else:
        uris = lines_of(spark, files, form).select("uri")
    counted = {row["uri"]: row["count"] for row in uris.groupBy("uri").count().collect()}  # a row per file
    for file in files:
        if form.kind != "parquet" and file.layout.width and file.uri not in counted and not file.long_lines:
            raise DataCheckError(
                f"{file.name}: it has {file.size:,} bytes and Spark reads no record from it; expected at least one: "
                "is it compressed or encoded in another way than its name says?"
            )
    too_long = sum(len(file.long_lines) for file in files)
    return sum(counted.values()) + too_long - sum(file.layout.header is not None for file in files)


@contextmanager
def reading_files(spark: SparkSession) -> Iterator[None]:
    """Set up the session for reading input files, and restore it afterwards.

    pandas writes Parquet times in nanoseconds, which Spark reads only as numbers; ingest accepts those as Unix times in
    ns. Names of columns may differ in case only. If a file is truncated, Spark's failure becomes an error of one line
    that names the file.

    Raises:
        DataCheckError: a file is truncated or damaged.
    """
    before = {name: str(spark.conf.get(name)) for name in _SESSION}
    _set(spark, _SESSION)
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = re.search(r"FAILED_READ_FILE[^\n]*?(?P<uri>[a-z0-9]+:/\S+?)\.?(\s|$)", str(error))
        if found is None:
            raise
        raise DataCheckError(f"{unquote(found['uri'])}: the file is truncated or damaged; replace it") from error
    finally:
        _set(spark, before)


def _set(spark: SparkSession, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        spark.conf.set(name, value)
