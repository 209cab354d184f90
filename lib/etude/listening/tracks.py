"""Merge log and catalogues: for each track the most trusted value of every field, with its origin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from etude.lake.staging import Staging
from etude.listening.catalogue import Catalogue
from etude.listening.identity import name_id, normal_name

LOG, DERIVED, COPIED = "log", "artist_name", "alias"
"""Origins other than a catalogue: the log, the artist's name if the artist id is derived from it, and an alias of the
track. What was copied from an alias is left out when rows are merged again: it may be no alias any more."""

_TYPES = {
    "title": "string",
    "artist_id": "string",
    "artist_name": "string",
    "release_year": "int",
    "tags": "struct<tags:array<string>,weights:array<float>>",
    "audio_uri": "string",
}
_BEFORE, _FROM_LOG = 1_000_000, 2_000_000
"""Ranks of values that earlier runs took from catalogues, and of values from the log; sources rank 0, 1, 2, ..."""


def merge_tracks(
    known: DataFrame,
    catalogues: Sequence[Catalogue],
    played: DataFrame,
    only_played: bool,
    staging: Staging,
    track_aliases: DataFrame | None = None,
    artist_aliases: DataFrame | None = None,
) -> DataFrame:
    """Merge the metadata of every track, field by field.

    A field comes from the first catalogue that has it, otherwise from an earlier run's catalogue, otherwise from the
    log. Of several names in the log, the first in text order is used, so that the order of batches doesn't matter. What
    is said of an alias is said of its track too, unless the same source says another thing of the track itself.

    Args:
        known: the table `tracks`.
        catalogues: catalogues, the most trusted first.
        played: track_id, title, artist, artist_id of clean plays of the log; repeats allowed.
        only_played: whether to omit catalogue tracks that are neither known nor played.
        staging: keeps the merged rows and the artists' names, which are read twice.
        track_aliases: alias (unique), id (no alias); None if there are none.
        artist_aliases: the same of artists.

    Returns:
        track_id, title, artist_id, artist_name, release_year, tags, tag_weights, audio_uri, alias_of, origins.
    """
    ours = _known_claims(known).unionByName(_log_claims(played))
    claims = [_catalogue_claims(catalogue, rank) for rank, catalogue in enumerate(catalogues)]
    if only_played:
        wanted = _with_tracks_of(ours.select("track_id"), track_aliases)
        claims = [claim.join(wanted, "track_id", "left_semi") for claim in claims]
    every = _with_tracks_of(reduce(DataFrame.unionByName, claims, ours), track_aliases)
    best = every.groupBy("track_id").agg(*(F.min(field).alias(field) for field in _TYPES))
    best = _of_artists(best, artist_aliases)
    best = with_alias_of(best, track_aliases)
    return _with_artist_ids(staging.keep(best), staging).select(
        "track_id",
        *(F.col(f"{field}.value").alias(field) for field in ("title", "artist_id", "artist_name", "release_year")),
        F.coalesce(F.col("tags.value.tags"), F.array().cast("array<string>")).alias("tags"),
        F.coalesce(F.col("tags.value.weights"), F.array().cast("array<float>")).alias("tag_weights"),
        F.col("audio_uri.value").alias("audio_uri"),
        "alias_of",
        _origins().alias("origins"),
    )


def with_alias_of(rows: DataFrame, aliases: DataFrame | None) -> DataFrame:
    """Add alias_of: the id for which track_id stands, null for all others."""
    if aliases is None:
        return rows.withColumn("alias_of", F.lit(None).cast("string"))
    return rows.join(aliases.toDF("track_id", "alias_of"), "track_id", "left")


def _with_tracks_of(rows: DataFrame, aliases: DataFrame | None) -> DataFrame:
    """Add a copy of each alias's row, as one of its track, with the claims marked as copied."""
    if aliases is None:
        return rows
    claims = [
        F.when(claim.isNotNull(), claim.withField("copied", F.lit(True)).withField("origin", F.lit(COPIED))).alias(name)
        for name, claim in ((name, F.col(name)) for name in rows.columns if name != "track_id")
    ]
    of_tracks = rows.join(aliases, F.col("track_id") == F.col("alias")).select(F.col("id").alias("track_id"), *claims)
    return rows.unionByName(of_tracks)


def _of_artists(best: DataFrame, aliases: DataFrame | None) -> DataFrame:
    """Replace aliases of artists by the artists' ids."""
    if aliases is None:
        return best
    joined = best.join(aliases, F.col("artist_id.value") == F.col("alias"), "left")
    right = F.when(F.col("id").isNotNull(), F.col("artist_id").withField("value", F.col("id")))
    return joined.withColumn("artist_id", F.coalesce(right, "artist_id")).drop("alias", "id")


def changed_tracks(merged: DataFrame, known: DataFrame) -> DataFrame:
    """Return rows of `merged` that are new or differ from the table, with the table's track_idx (null for new rows)."""
    columns = [name for name in merged.columns if name != "track_id"]

    def content(side: str) -> Column:
        plain = [F.col(f"{side}.{name}") for name in columns if name != "origins"]
        return F.struct(*plain, F.array_sort(F.map_entries(F.col(f"{side}.origins"))))

    both = merged.alias("new").join(known.alias("old"), "track_id", "left")
    new_or_other = F.col("old.track_idx").isNull() | ~content("new").eqNullSafe(content("old"))
    return both.where(new_or_other).select("track_id", *(f"new.{name}" for name in columns), "old.track_idx")


def _claim(field: str, rank: Column, value: Column, origin: Column) -> Column:
    """Build a struct of what orders a field's values, and its origin; null if there is no value: min ignores it."""
    claim = F.struct(
        rank.alias("rank"),
        F.lit(False).alias("copied"),
        value.cast(_TYPES[field]).alias("value"),
        origin.alias("origin"),
    )
    return F.when(value.isNotNull(), claim).alias(field)


def _catalogue_claims(catalogue: Catalogue, rank: int) -> DataFrame:
    total = F.aggregate("tags", F.lit(0.0), lambda sum_, tag: sum_ + tag["weight"])
    weights = F.transform("tags", lambda tag: tag["weight"] / total)
    tags = F.when(F.size("tags") > 0, F.struct(F.col("tags.tag").alias("tags"), weights.alias("weights")))
    values = {field: tags if field == "tags" else F.col(field) for field in _TYPES}
    claims = [_claim(field, F.lit(rank), value, F.lit(catalogue.name)) for field, value in values.items()]
    return catalogue.tracks.select("track_id", *claims)


def _log_claims(played: DataFrame) -> DataFrame:
    # Distinct rows first: Spark hashes those, but sorts rows for the least of texts.
    named = played.select("track_id", "title", "artist_id", F.col("artist").alias("artist_name")).distinct()
    best = named.groupBy("track_id").agg(*(F.min(f).alias(f) for f in ("title", "artist_id", "artist_name")))
    claims = [
        _claim(field, F.lit(_FROM_LOG), F.col(field) if field in best.columns else F.lit(None), F.lit(LOG))
        for field in _TYPES
    ]
    return best.select("track_id", *claims)


def _known_claims(known: DataFrame) -> DataFrame:
    """Rank the table's values by their origin; what was derived from names or copied is left out, and made again."""
    pair = F.struct(F.col("tags").alias("tags"), F.col("tag_weights").alias("weights"))
    values = {field: F.when(F.size("tags") > 0, pair) if field == "tags" else F.col(field) for field in _TYPES}
    claims = []
    for field, value in values.items():
        origin = F.try_element_at("origins", F.lit(field))
        rank = F.when(origin == LOG, _FROM_LOG).otherwise(_BEFORE)
        claims.append(_claim(field, rank, F.when(~origin.isin(DERIVED, COPIED), value), origin))
    return known.select("track_id", *claims)


def _with_artist_ids(best: DataFrame, staging: Staging) -> DataFrame:
    """Add artist ids to tracks that have only an artist's name.

    Names are compared in their normal form. If all tracks of a name that have an id share one id, that id is used.
    Otherwise the artist id is a hash of the normal name.
    """
    best = best.withColumn("name", F.col("artist_name.value"))
    # Normalise each distinct name once, instead of once per track.
    names = best.select("name").dropna().distinct()
    names = staging.keep(names.withColumn("key", normal_name(F.col("name"))))
    keyed = best.join(names, "name", "left")
    named = keyed.where("artist_id IS NOT NULL AND key IS NOT NULL")
    ids = named.groupBy("key").agg(F.min("artist_id.value").alias("least"), F.max("artist_id.value").alias("most"))
    joined = keyed.join(ids.where("least = most").select("key", "least"), "key", "left")
    derived = _claim("artist_id", F.lit(_FROM_LOG), F.coalesce(F.col("least"), name_id(F.col("key"))), F.lit(DERIVED))
    return joined.withColumn("artist_id", F.coalesce(F.col("artist_id"), derived)).drop("name", "key", "least")


def _origins() -> Column:
    entries = [
        F.when(F.col(field).isNotNull(), F.struct(F.lit(field).alias("key"), F.col(f"{field}.origin").alias("value")))
        for field in _TYPES
    ]
    return F.map_from_entries(F.array_compact(F.array(*entries)))
