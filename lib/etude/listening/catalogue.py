"""Read catalogues: reduce each source to one row per track, and collect the rejected rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.config.listening import CatalogueSource
from etude.errors import SettingsError
from etude.lake.staging import Staging
from etude.listening.cleaning import parse_count, text_of
from etude.listening.columns import CATALOGUE_ROLES, Wanted
from etude.listening.formats import catalogue_format
from etude.listening.identity import name_id, normal_name
from etude.listening.listings import Listing, read_listing, rejects_of
from etude.listening.parsers import Places

_FIRST_YEAR, _LAST_YEAR = 1000, 2999
_LONGEST = 1024  # characters kept per title, name or tag
_CELL_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Catalogue:
    """Hold one source as read."""

    name: str
    source: str
    """Its name in `rejects`."""
    tracks: DataFrame
    """track_id (unique), title, artist_id, artist_name, release_year, audio_uri, tags (array of structs tag, weight;
    heaviest first), ambiguous (whether its rows name different songs)."""
    rejects: DataFrame
    """source, locator, raw, reason, detail, batch_date of its rejected rows."""
    columns: Wanted
    """The column of each role."""


def read_catalogue(
    staging: Staging,
    source: CatalogueSource,
    batch: date,
    now: datetime,
    max_tags: int,
    key: bytes | None = None,
) -> Catalogue:
    """Read one source.

    Args:
        staging: keeps the records and the tracks built from them.
        source: the source's path, format and columns.
        batch: the batch date.
        now: the time of the run.
        max_tags: largest number of tags kept per track.
        key: user key; hashes are then keyed (a catalogue may have a column of users).

    Raises:
        InputMissingError: there is no file.
        SettingsError: a requested column is missing.
        DataCheckError: the columns differ between its files.
    """
    form, columns = catalogue_format(source)
    name = source.known_as
    section = f"catalogue.sources[{name}].columns"
    _check_weights(source, section)
    listing = Listing(source.path, form, columns, section, "catalogue", CATALOGUE_ROLES)
    judged, asked, wanted = read_listing(staging, listing, _judged, batch, now, key)
    tags = sorted(int(role.split(".")[1]) for role in asked if role.startswith("tags."))
    clean = judged.where(F.col("reason").isNull()).select(
        "track_id",
        F.left(text_of("title"), F.lit(_LONGEST)).alias("title"),
        text_of("artist_id").alias("artist_id"),
        F.left(text_of("artist_name"), F.lit(_LONGEST)).alias("artist_name"),
        parse_year(F.col("release_year")).alias("release_year"),
        _audio_uri(text_of("audio"), F.col("uri")).alias("audio_uri"),
        _tags_of_row([(f"tags.{n}", f"tag_weights.{n}") for n in tags], asked, source.tag_delimiter).alias("tags"),
    )
    origin = f"catalogue:{name}"
    tracks = staging.keep(one_row_a_track(clean, max_tags))
    return Catalogue(name, origin, tracks, rejects_of(judged, origin, batch), wanted)


def _judged(records: DataFrame, places: Mapping[str, Places]) -> DataFrame:
    """Add track_id and the reject reason to records."""
    artist, title, track = text_of("artist_name"), text_of("title"), text_of("track")
    if any({"artist_name", "title"} <= set(place) for place in places.values()):
        unnamed = track.isNull()
        by_name = name_id(normal_name(F.when(unnamed, artist)), normal_name(F.when(unnamed, title)))
        track = F.coalesce(track, by_name)
    reason = F.when(F.col("fault").isNotNull(), F.col("fault")).when(F.col("track_id").isNull(), "empty_track")
    return records.withColumn("track_id", track).withColumn("reason", reason)


def _check_weights(source: CatalogueSource, section: str) -> None:
    tags, weights = source.columns.tags, source.columns.tag_weights
    if weights and len(weights) != len(tags):
        raise SettingsError(
            f"{section}.tag_weights: {len(weights)} columns for {len(tags)} columns of tags; expected one per "
            "column of tags, or none"
        )


def parse_year(text: Column) -> Column:
    """Parse a year as int; null if it is 0 (unknown), outside 1000 to 2999, or not a number."""
    year = parse_count(text)
    return F.when(year.between(_FIRST_YEAR, _LAST_YEAR), year.cast("int"))


def _audio_uri(path: Column, file: Column) -> Column:
    """Resolve a path relative to the catalogue file into a URI; absolute paths and URIs stay unchanged."""
    absolute = path.rlike("^([A-Za-z][A-Za-z0-9+.-]*:/|/)")  # a name may hold a colon
    # Spark writes file:/a/b; other tools write file:///a/b.
    folder = F.regexp_replace(F.regexp_replace(file, "[^/]*$", ""), "^file:/+", "file:///")
    relative = F.replace(F.replace(path, F.lit("%"), F.lit("%25")), F.lit(" "), F.lit("%20"))
    return F.when(absolute, path).otherwise(F.concat(folder, relative))


def _tags_of_row(pairs: list[tuple[str, str]], asked: Sequence[str], delimiter: str | None) -> Column:
    """Collect the tags in a row's cells: array of structs tag, weight (double).

    Drop tags whose weight isn't finite or above 0; Spark orders NaN above infinity.
    """
    arrays = []
    for tags, weights in pairs:
        texts = _cell(F.col(f"`{tags}`"), delimiter)
        numbers = _cell(F.col(f"`{weights}`"), delimiter) if weights in asked else F.lit(None).cast("array<string>")
        entries = F.arrays_zip(texts.alias("tag"), F.coalesce(numbers, F.array()).alias("weight"))
        arrays.append(F.when(texts.isNotNull(), F.transform(entries, _tag)))
    empty = F.lit(None).cast("array<struct<tag:string,weight:double>>")
    joined = reduce(F.concat, (F.coalesce(each, F.array()) for each in arrays)) if arrays else empty
    return F.filter(joined, lambda tag: (F.length(tag["tag"]) > 0) & (tag["weight"] > 0) & (tag["weight"] < math.inf))


def _tag(entry: Column) -> Column:
    """Build a struct of a tag and its weight: 1 if it has none, 0 if it isn't a number."""
    weight = F.coalesce(entry["weight"].try_cast("double"), F.when(entry["weight"].isNull(), 1.0), F.lit(0.0))
    return F.struct(F.left(F.trim(entry["tag"]), F.lit(_LONGEST)).alias("tag"), weight.alias("weight"))


def _cell(cell: Column, delimiter: str | None) -> Column:
    """Split a cell into its parts, null for an empty one; array columns arrive as JSON lists and need no delimiter."""
    listed = F.when(cell.startswith("["), F.from_json(cell, "array<string>"))
    parts = F.array(cell) if delimiter is None else F.split(cell, re.escape(delimiter))
    return F.when(F.length(F.trim(cell)) > 0, F.coalesce(listed, parts))


def one_row_a_track(rows: DataFrame, max_tags: int) -> DataFrame:
    """Reduce a source's rows to one row per track.

    If a track has several rows, the most complete one supplies its fields; ties go to the first in text order. A track
    whose rows name different songs is marked `ambiguous`. Tags come from all its rows, with their weights summed, so
    a source may have one row per tag.
    """
    fields = ("title", "artist_name", "artist_id", "release_year", "audio_uri")
    lacking = reduce(Column.__add__, (F.col(field).isNull().cast("int") for field in fields))
    names = F.struct("title", "artist_name")
    named = F.col("title").isNotNull() | F.col("artist_name").isNotNull()
    best = rows.groupBy("track_id").agg(
        F.min(F.struct(lacking.alias("lacking"), *fields)).alias("best"),
        F.coalesce(F.min(F.when(named, names)) != F.max(F.when(named, names)), F.lit(False)).alias("ambiguous"),
    )
    tags = (
        rows.select("track_id", F.explode("tags").alias("entry"))
        .groupBy("track_id", F.col("entry.tag").alias("tag"))
        .agg(F.sum("entry.weight").alias("weight"))
    )
    heaviest_first = Window.partitionBy("track_id").orderBy(F.desc("weight"), "tag")
    tags = (
        tags.withColumn("place", F.row_number().over(heaviest_first))
        .where(F.col("place") <= max_tags)
        .groupBy("track_id")
        .agg(F.array_sort(F.collect_list(F.struct("place", "tag", "weight"))).alias("tags"))
        .select("track_id", F.transform("tags", lambda t: F.struct(t["tag"], t["weight"])).alias("tags"))
    )
    return best.join(tags, "track_id", "left").select(
        "track_id", *(F.col(f"best.{field}").alias(field) for field in fields), "tags", "ambiguous"
    )


def coverage(catalogues: Sequence[Catalogue], played: DataFrame) -> dict[str, dict[str, int]]:
    """Count each catalogue's tracks, its played tracks and its ambiguous tracks.

    Args:
        catalogues: results of `read_catalogue`.
        played: track_id, repeats allowed.

    Returns:
        Catalogue name -> {"tracks", "played", "ambiguous"} -> count.
    """
    if not catalogues:
        return {}
    listed = [c.tracks.select(F.lit(c.name).alias("name"), "track_id", "ambiguous") for c in catalogues]
    heard = played.select("track_id").distinct().withColumn("heard", F.lit(1))
    counted = (
        reduce(DataFrame.unionByName, listed)
        .join(heard, "track_id", "left")
        .groupBy("name")
        .agg(
            F.count(F.lit(1)).alias("tracks"),
            F.count("heard").alias("played"),
            F.count_if("ambiguous").alias("ambiguous"),
        )
    )
    return {row["name"]: {k: row[k] for k in ("tracks", "played", "ambiguous")} for row in counted.collect()}
