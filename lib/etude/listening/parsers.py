"""Parse the records of files of one layout: lines of text, and rows of Parquet.

Lines are read as text and parsed one by one. Spark's CSV and JSON readers hide facts that `rejects` needs: invalid
UTF-8 bytes, the record's text in the file, and its number of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.listening.encodings import read_as
from etude.listening.files import InputFile, reader
from etude.listening.formats import FileFormat
from etude.listening.layout import Layout
from etude.listening.types import is_time
from etude.storage import literal

Places = Mapping[str, int | str]

HEADER = "header"
"""Fault of a line that equals its file's line of column names; the first such line of a file is not a record."""
TOO_LONG = "too_long"
URI = "_metadata.file_path"

_MALFORMED, _ENCODING, _WIDTH = "malformed", "encoding", "wrong_columns"
_LINE_ENDS = 16  # bytes; more than Hadoop's reader counts to a line beside its content
_REPLACED = "\ufffd"


@dataclass(frozen=True)
class Parsed:
    """Hold one layout's records: the frame, and columns over it."""

    rows: DataFrame
    raw: Column
    """The record as one text; equal records have equal texts."""
    fault: Column
    shown: Column
    """The record for `rejects`, limited by `_shown_places`; null if its fields can't be separated."""
    fields: dict[str, Column]


def parse(
    spark: SparkSession, files: Sequence[InputFile], layout: Layout, places: Places, form: FileFormat, keyed: bool
) -> Parsed:
    """Parse the files of one layout.

    Args:
        spark: the session.
        files: files of this layout.
        layout: their layout; JSON needs none.
        places: role -> position or key.
        form: the format.
        keyed: whether a user key is set, so that `shown` holds mapped columns only.
    """
    if form.kind == "parquet":
        return _parquet(spark, files, layout, places, keyed)
    if form.kind == "json":
        return _json(lines_of(spark, files, form), places, keyed)
    if form.multi_line:
        return _delimited_multi_line(
            multi_line(spark, files, layout, form), layout, places, form.max_record_bytes, keyed
        )
    return _delimited(lines_of(spark, files, form), layout, places, keyed)


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


def paths_of(files: Sequence[InputFile]) -> list[str]:
    """Return the files' paths for Spark's readers."""
    return [literal(file.path) for file in files]


def lines_of(spark: SparkSession, files: Sequence[InputFile], form: FileFormat) -> DataFrame:
    """Read lines as uri, value (valid text) and broken (whether the bytes were invalid); omit blank lines."""
    # Hadoop's reader leaves out lines of so many bytes without holding them in memory; `long_lines` has them.
    longest = {"mapreduce.input.linerecordreader.line.maxlength": str(form.max_record_bytes + _LINE_ENDS)}
    texts = reader(spark).options(**longest).text(paths_of(files)).select(F.col(URI).alias("uri"), "value")
    lines = texts.where(F.octet_length("value").between(1, form.max_record_bytes))
    if form.encoding != "utf-8":
        value = read_as(F.decode(F.col("value").cast("binary"), "ISO-8859-1"), form.encoding)
        broken = value.contains("\x00") | value.contains(_REPLACED)
        return lines.select("uri", value.alias("value"), broken.alias("broken"))
    # A zero byte is valid UTF-8, but not text.
    broken = ~F.is_valid_utf8("value") | F.col("value").contains("\x00")
    return lines.select("uri", F.make_valid_utf8("value").alias("value"), broken.alias("broken"))


def _options(layout: Layout) -> dict[str, str]:
    return {
        "sep": layout.delimiter,
        "quote": layout.quote or "\x00",
        # Spark's default escape, a backslash, silently changes fields that end in a backslash.
        "escape": layout.quote or "\x00",
        "ignoreLeadingWhiteSpace": "true",  # a quote after a blank is a quote
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


def _delimited(lines: DataFrame, layout: Layout, places: Places, keyed: bool) -> Parsed:
    rows = lines.withColumn("parsed", F.from_csv("value", _schema(layout), _options(layout)))
    field = {n: F.col(f"parsed.c{n}") for n in range(layout.width)}
    odd = _odd(layout, F.col("parsed.fault"), field)
    header = F.lit(False) if layout.header is None else F.col("value") == F.lit(layout.header)
    fault = F.when(header, HEADER).when(F.col("broken"), _ENCODING).when(odd, _WIDTH)
    shown = F.when(~odd, _shown(layout, places, field, keyed))
    return Parsed(rows, F.col("value"), fault, shown, {role: field[int(n)] for role, n in places.items()})


def multi_line(spark: SparkSession, files: Sequence[InputFile], layout: Layout, form: FileFormat) -> DataFrame:
    """Read records of several lines as uri, c0, c1, ... and fault (the text of a record with another width)."""
    latin = form.encoding != "utf-8"
    options = {**_options(layout), "multiLine": "true", "encoding": "ISO-8859-1" if latin else "UTF-8"}
    rows = reader(spark).schema(_schema(layout)).options(**options).csv(paths_of(files))
    fields = [*(f"c{n}" for n in range(layout.width)), "fault"]
    texts = ((read_as(F.col(name), form.encoding) if latin else F.col(name)).alias(name) for name in fields)
    return rows.select(F.col(URI).alias("uri"), *texts)


def _delimited_multi_line(rows: DataFrame, layout: Layout, places: Places, longest: int, keyed: bool) -> Parsed:
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
    too_long = F.octet_length(raw) > longest
    fault = F.when(too_long, TOO_LONG).when(header, HEADER).when(broken, _ENCODING).when(odd, _WIDTH)
    shown = F.when(~odd & ~too_long, _shown(layout, places, field, keyed))
    # All headers of a file count as equal records, even if quoted differently; the first is not a record.
    equal = F.when(header, HEADER).otherwise(raw)
    return Parsed(rows, equal, fault, shown, {role: field[int(n)] for role, n in places.items()})


def _json(lines: DataFrame, places: Places, keyed: bool) -> Parsed:
    # In brackets, a second value on the line is a second element; otherwise Spark drops it silently.
    in_brackets = F.concat(F.lit("["), F.col("value"), F.lit("]"))
    rows = lines.withColumn("parsed", F.from_json(in_brackets, "array<map<string,string>>"))
    rows = rows.withColumn("parsed", F.when(F.size("parsed") == 1, F.col("parsed")[0]))
    malformed = F.col("parsed").isNull()
    fault = F.when(F.col("broken"), _ENCODING).when(malformed, _MALFORMED)
    named, but_these = _shown_places(places, keyed)
    shown = F.to_json(F.map_filter("parsed", lambda key, _: key.isin(*map(str, named)) != F.lit(but_these)))
    fields = {role: F.try_element_at("parsed", F.lit(str(key))) for role, key in places.items()}
    return Parsed(rows, F.col("value"), fault, shown, fields)


def _parquet(spark: SparkSession, files: Sequence[InputFile], layout: Layout, places: Places, keyed: bool) -> Parsed:
    name = {role: layout.names[int(n)] for role, n in places.items()}
    kinds = {role: layout.types[int(n)] for role, n in places.items()}
    # Only the columns in use have a schema: Spark refuses files if it can't read one of the columns that it looks at.
    columns = dict(zip(name.values(), kinds.values(), strict=True))
    spark_kind = {column: "binary" if kind.startswith("binary") else kind for column, kind in columns.items()}
    schema = ", ".join(f"`{column.replace('`', '``')}` {kind}" for column, kind in spark_kind.items())
    rows = reader(spark).schema(schema).parquet(*paths_of(files))
    typed = {role: F.col(f"`{column}`") for role, column in name.items()}
    rows = rows.select(F.col(URI).alias("uri"), *(F.col(f"`{column}`") for column in dict.fromkeys(name.values())))
    text = {role: _as_text(typed[role], kind) for role, kind in kinds.items()}
    broken = [~F.is_valid_utf8(text[role]) for role, kind in kinds.items() if kind in ("string", "binary")]
    fault = F.when(reduce(Column.__or__, broken, F.lit(False)), _ENCODING)
    valid = {role: F.make_valid_utf8(column) for role, column in text.items()}
    raw = F.to_json(F.struct(*(valid[role].alias(role) for role in sorted(valid))))
    named, but_these = _shown_places(places, keyed)
    kept = [role for role in sorted(valid) if (places[role] in named) != but_these]
    shown = F.to_json(F.struct(*(valid[role].alias(name[role]) for role in kept))) if kept else F.lit("")
    fields = dict(valid)
    if is_time(kinds.get("played_at", "")):
        fields["played_at_typed"] = typed["played_at"].cast("timestamp")
    return Parsed(rows, raw, fault, shown, fields)


def _as_text(column: Column, kind: str) -> Column:
    """Return a column's values as texts; bytes of a fixed number become hex digits, 16 of them a UUID."""
    if kind.startswith("array"):
        return F.to_json(column)
    if kind == "binary(16)":
        return F.regexp_replace(F.lower(F.hex(column)), "^(.{8})(.{4})(.{4})(.{4})", "$1-$2-$3-$4-")
    if kind.startswith("binary("):
        return F.lower(F.hex(column))
    return column.cast("string")
