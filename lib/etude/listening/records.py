"""Read the records of files of all formats into one schema; malformed records are kept with their fault.

Lines are read as text and parsed one by one. Spark's CSV and JSON readers hide facts that `rejects` needs: invalid
UTF-8 bytes, the record's text in the file, and its number of columns.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from etude.errors import DataCheckError
from etude.frames import small_frame
from etude.listening.files import InputFile
from etude.listening.formats import FileFormat
from etude.listening.identity import Pads, record_hash, with_pads
from etude.listening.layout import Layout
from etude.storage import literal

Places = Mapping[str, int | str]

HEADER = "header"
"""Fault of a line that equals its file's line of column names; the first such line of a file is not a record."""

_MALFORMED, _ENCODING, _WIDTH = "malformed", "encoding", "wrong_columns"
_URI = "_metadata.file_path"
_NANOSECONDS = "spark.sql.legacy.parquet.nanosAsLong"
_REPLACED = "\ufffd"
_TEXT = (T.StringType, T.BinaryType, T.ByteType, T.ShortType, T.IntegerType, T.LongType, T.DecimalType)
_NUMBER = (*_TEXT, T.FloatType, T.DoubleType)
_TIME = (T.TimestampType, T.TimestampNTZType, T.DateType)
_EXPECTED = {
    "played_at": "a timestamp, a date, a string or a number",
    "user": "a string or an integer",
    "track": "a string or an integer",
}


@dataclass(frozen=True)
class _Parsed:
    """Hold one layout's records: the frame, and columns over it."""

    rows: DataFrame
    raw: Column
    """The record as one text; equal records have equal texts."""
    fault: Column
    shown: Column
    """The record for `rejects`, limited by `_shown_places`; null if its fields can't be separated."""
    fields: dict[str, Column]


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
    groups: dict[tuple[Layout, tuple[tuple[str, int | str], ...]], list[InputFile]] = defaultdict(list)
    for file in files:
        # JSON needs only the places; the keys of the first lines differ between files.
        layout = Layout() if form.kind == "json" else file.layout
        groups[layout, tuple(sorted(places[file.name].items()))].append(file)
    frames = []
    for (layout, place), members in groups.items():
        parsed = _parse(spark, members, layout, dict(place), form, keyed=pads is not None)
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
    attributes = small_frame(
        spark,
        [(f.uri, f.name, f.first_batch, f.last_batch, f.taken_at) for group in groups.values() for f in group],
        "uri string, file string, first_batch date, last_batch date, taken_at timestamp",
    )
    rows = reduce(DataFrame.unionAll, frames).join(F.broadcast(attributes), "uri", "inner")
    if pads is not None:
        rows = with_pads(rows, pads)
    return rows.withColumn("record", record_hash(F.col("raw"), keyed=pads is not None)).drop("raw")


def count_records(spark: SparkSession, files: Sequence[InputFile], form: FileFormat) -> int:
    """Count the files' records in one job, without parsing them if the format allows.

    Raises:
        DataCheckError: a text file isn't blank, and Spark reads nothing from it. Its records would be lost silently.
    """
    groups: dict[Layout, list[InputFile]] = defaultdict(list)
    for file in files:
        groups[file.layout].append(file)
    if form.kind == "parquet":
        frames = [spark.read.parquet(*_paths(members)).select(F.col(_URI).alias("uri")) for members in groups.values()]
    elif form.multi_line:
        frames = [_multi_line(spark, members, layout, form) for layout, members in groups.items()]
    else:
        frames = [_lines(spark, files, form)]
    uris = reduce(DataFrame.unionAll, (frame.select("uri") for frame in frames))
    counted = {row["uri"]: row["count"] for row in uris.groupBy("uri").count().collect()}  # a row per file
    for file in files:
        if form.kind != "parquet" and file.layout.width and file.uri not in counted:
            raise DataCheckError(
                f"{file.name}: it has {file.size:,} bytes and Spark reads no record from it; expected at least one: "
                "is it compressed or encoded in another way than its name says?"
            )
    return sum(counted.values()) - sum(file.layout.header is not None for file in files)


@contextmanager
def reading_files(spark: SparkSession) -> Iterator[None]:
    """Set up the session for reading input files, and restore it afterwards.

    pandas writes Parquet times in nanoseconds, which Spark reads only as numbers; ingest accepts those as Unix times in
    ns. If a file is truncated, Spark's failure becomes an error of one line that names the file.

    Raises:
        DataCheckError: a file is truncated or damaged.
    """
    before = spark.conf.get(_NANOSECONDS)
    spark.conf.set(_NANOSECONDS, "true")
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = re.search(r"FAILED_READ_FILE[^\n]*?(?P<uri>[a-z0-9]+:/\S+?)\.?(\s|$)", str(error))
        if found is None:
            raise
        raise DataCheckError(f"{unquote(found['uri'])}: the file is truncated or damaged; replace it") from error
    finally:
        spark.conf.set(_NANOSECONDS, str(before))


def _parse(
    spark: SparkSession, files: Sequence[InputFile], layout: Layout, places: Places, form: FileFormat, keyed: bool
) -> _Parsed:
    if form.kind == "parquet":
        return _parquet(spark, files, layout, places, keyed)
    if form.kind == "json":
        return _json(_lines(spark, files, form), places, keyed)
    if form.multi_line:
        return _delimited_multi_line(_multi_line(spark, files, layout, form), layout, places, keyed)
    return _delimited(_lines(spark, files, form), layout, places, keyed)


def _shown_places(places: Places, keyed: bool) -> tuple[frozenset[int | str], bool]:
    """Return a set of columns, and whether `rejects` must hide them (True) or may show only them (False).

    `rejects` shows all columns of a log except the user. With a key, and for a catalogue (which may itself be a log),
    it shows only mapped columns, without user and event id. Any other column may identify the user, for example an
    e-mail address or a differently spelt JSON key.
    """
    user = {places["user"]} if "user" in places else set()
    if user and not keyed:
        return frozenset(user), True
    known = {place for role, place in places.items() if role not in ("user", "event")}
    return frozenset(known - user), False


def _paths(files: Sequence[InputFile]) -> list[str]:
    return [literal(file.path) for file in files]


def _lines(spark: SparkSession, files: Sequence[InputFile], form: FileFormat) -> DataFrame:
    """Read lines as uri, value (valid text) and broken (whether the bytes were invalid); omit blank lines."""
    lines = spark.read.text(_paths(files)).select(F.col(_URI).alias("uri"), "value").where(F.length("value") > 0)
    if form.encoding == "iso-8859-1":
        value = F.decode(F.col("value").cast("binary"), "ISO-8859-1")
        return lines.select("uri", value.alias("value"), value.contains("\x00").alias("broken"))
    # UTF-16 without a byte order mark has zero bytes between letters: valid UTF-8, but not text.
    broken = ~F.is_valid_utf8("value") | F.col("value").contains("\x00")
    return lines.select("uri", F.make_valid_utf8("value").alias("value"), broken.alias("broken"))


def _options(layout: Layout) -> dict[str, str]:
    return {
        "sep": layout.delimiter,
        "quote": layout.quote or "\x00",
        # Spark's default escape, a backslash, silently changes fields that end in a backslash.
        "escape": layout.quote or "\x00",
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": "fault",
    }


def _schema(layout: Layout) -> str:
    return ", ".join([*(f"c{n} string" for n in range(layout.width)), "fault string"])


def _odd(layout: Layout, fault: Column, field: Mapping[int, Column]) -> Column:
    """Return whether a record has a wrong number of columns; ragged files may omit the last ones."""
    return fault.isNotNull() & field[layout.width - 1].isNotNull() if layout.ragged else fault.isNotNull()


def _shown(layout: Layout, places: Places, field: Mapping[int, Column], keyed: bool) -> Column:
    named, but_these = _shown_places(places, keyed)
    kept = [column for n, column in field.items() if (n in named) != but_these]
    return F.to_csv(F.struct(*kept), _writing(layout)) if kept else F.lit("")


def _writing(layout: Layout) -> dict[str, str]:
    """Return options that write a record unchanged, including blanks around its fields."""
    quote = layout.quote or "\x00"
    blanks = {"ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false"}
    return {"sep": layout.delimiter, "quote": quote, "escape": quote, **blanks}


def _delimited(lines: DataFrame, layout: Layout, places: Places, keyed: bool) -> _Parsed:
    rows = lines.withColumn("parsed", F.from_csv("value", _schema(layout), _options(layout)))
    field = {n: F.col(f"parsed.c{n}") for n in range(layout.width)}
    odd = _odd(layout, F.col("parsed.fault"), field)
    header = F.lit(False) if layout.header is None else F.col("value") == F.lit(layout.header)
    fault = F.when(header, HEADER).when(F.col("broken"), _ENCODING).when(odd, _WIDTH)
    shown = F.when(~odd, _shown(layout, places, field, keyed))
    return _Parsed(rows, F.col("value"), fault, shown, {role: field[int(n)] for role, n in places.items()})


def _multi_line(spark: SparkSession, files: Sequence[InputFile], layout: Layout, form: FileFormat) -> DataFrame:
    reader = spark.read.schema(_schema(layout)).options(**_options(layout), multiLine=True, encoding=form.encoding)
    return reader.csv(_paths(files)).select(F.col(_URI).alias("uri"), *(f"c{n}" for n in range(layout.width)), "fault")


def _delimited_multi_line(rows: DataFrame, layout: Layout, places: Places, keyed: bool) -> _Parsed:
    """Parse records of several lines; Spark doesn't keep their text, so it is rewritten from the fields."""
    field = {n: F.col(f"c{n}") for n in range(layout.width)}
    odd = _odd(layout, F.col("fault"), field)
    rewritten = F.to_csv(F.struct(*field.values()), _writing(layout))
    raw = F.coalesce(F.col("fault"), rewritten)  # `fault` holds the text of a record with another width
    header = F.lit(False)
    if layout.header is not None:
        names = [F.coalesce(F.trim(field[n]), F.lit("")) == F.lit(name) for n, name in enumerate(layout.names)]
        header = reduce(Column.__and__, names) & ~odd
    broken = raw.contains(_REPLACED) | raw.contains("\x00")
    fault = F.when(header, HEADER).when(broken, _ENCODING).when(odd, _WIDTH)
    shown = F.when(~odd, _shown(layout, places, field, keyed))
    # All headers of a file count as equal records, even if quoted differently; the first is not a record.
    equal = F.when(header, HEADER).otherwise(raw)
    return _Parsed(rows, equal, fault, shown, {role: field[int(n)] for role, n in places.items()})


def _json(lines: DataFrame, places: Places, keyed: bool) -> _Parsed:
    # In brackets, a second value on the line is a second element; otherwise Spark drops it silently.
    in_brackets = F.concat(F.lit("["), F.col("value"), F.lit("]"))
    rows = lines.withColumn("parsed", F.from_json(in_brackets, "array<map<string,string>>"))
    rows = rows.withColumn("parsed", F.when(F.size("parsed") == 1, F.col("parsed")[0]))
    malformed = F.col("parsed").isNull()
    fault = F.when(F.col("broken"), _ENCODING).when(malformed, _MALFORMED)
    named, but_these = _shown_places(places, keyed)
    shown = F.to_json(F.map_filter("parsed", lambda key, _: key.isin(*map(str, named)) != F.lit(but_these)))
    fields = {role: F.try_element_at("parsed", F.lit(str(key))) for role, key in places.items()}
    return _Parsed(rows, F.col("value"), fault, shown, fields)


def _parquet(spark: SparkSession, files: Sequence[InputFile], layout: Layout, places: Places, keyed: bool) -> _Parsed:
    rows = spark.read.parquet(*_paths(files))
    name = {role: layout.names[int(n)] for role, n in places.items()}
    kinds = {role: rows.schema[column].dataType for role, column in name.items()}
    for role, kind in kinds.items():
        allowed = {"played_at": (*_NUMBER, *_TIME), "user": _TEXT, "track": _TEXT}.get(role, (*_NUMBER, T.ArrayType))
        if not isinstance(kind, allowed):
            wanted = _EXPECTED.get(role, "a string, a number or an array")
            raise DataCheckError(
                f"{files[0].name}: column '{name[role]}' is {kind.simpleString()}; {role} needs {wanted}"
            )
    typed = {role: F.col(f"`{column}`") for role, column in name.items()}
    rows = rows.select(F.col(_URI).alias("uri"), *(F.col(f"`{column}`") for column in dict.fromkeys(name.values())))
    text = {role: _as_text(typed[role], kind) for role, kind in kinds.items()}
    broken = [~F.is_valid_utf8(text[role]) for role, kind in kinds.items() if isinstance(kind, T.StringType)]
    fault = F.when(reduce(Column.__or__, broken, F.lit(False)), _ENCODING)
    valid = {role: F.make_valid_utf8(column) for role, column in text.items()}
    raw = F.to_json(F.struct(*(valid[role].alias(role) for role in sorted(valid))))
    named, but_these = _shown_places(places, keyed)
    kept = [role for role in sorted(valid) if (places[role] in named) != but_these]
    shown = F.to_json(F.struct(*(valid[role].alias(name[role]) for role in kept))) if kept else F.lit("")
    fields = dict(valid)
    if isinstance(kinds.get("played_at"), _TIME):
        fields["played_at_typed"] = typed["played_at"].cast("timestamp")
    return _Parsed(rows, raw, fault, shown, fields)


def _as_text(column: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.ArrayType):
        return F.to_json(column)
    return column.cast("string")
