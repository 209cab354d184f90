"""Decide what to do with each crop of each file: already refused, unchanged since the last run, or to be computed."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from etude.audio.refusal import IN_THE_FILE
from etude.config.audio import MelSettings

REFUSED, UNCHANGED, REMEMBERED, CHANGED, NEW = "refused", "unchanged", "remembered", "changed", "new"

# JSON in `rejects.raw` for a refused file; it shows whether a retry could have another outcome.
_RAW = "path string, audio_uri string, file_size bigint, file_mtime_us bigint, tried_with string"
_IDENTITY = ("audio_uri", "file_size", "file_mtime_us")


_LIBSNDFILES = r"(?i)\.(wav|flac|ogg|oga|opus|mp3|aiff?|au|caf|w64|rf64)$"
"""Names of files that are decoded without mel.fallback."""


def of_tracks(files: DataFrame, tracks: DataFrame) -> DataFrame:
    """Give the files of aliases to the tracks for which these stand; add `of_alias`, whether that was so.

    Args:
        files: track_id and others.
        tracks: rows of the table `tracks`.
    """
    aliases = tracks.where(F.col("alias_of").isNotNull()).select("track_id", "alias_of")
    joined = files.join(aliases, "track_id", "left").withColumn("of_alias", F.col("alias_of").isNotNull())
    return joined.withColumn("track_id", F.coalesce("alias_of", "track_id")).drop("alias_of")


def crops_of(files: DataFrame, crops: int, known: DataFrame) -> DataFrame:
    """Expand files to one row per file and crop: the files' columns, `crop`, and the `locator` of its reject.

    A track has one file; others are refused as duplicate. It is the one that was used before; otherwise one of the
    track itself comes before those of aliases, a name that libsndfile knows before others, and then the first by URI.

    Args:
        files: see `sources.AudioSource`, and `of_alias`.
        crops: number of crops of a file.
        known: rows of `mel` of the same settings.
    """
    used = known.select("track_id", "audio_uri").distinct().withColumn("used", F.lit(True))
    files = files.join(used, ["track_id", "audio_uri"], "left")
    within_track = Window.partitionBy("track_id").orderBy(
        F.col("reason").isNotNull(),
        F.col("used").isNull(),
        "of_alias",
        ~F.col("audio_uri").rlike(_LIBSNDFILES),
        "audio_uri",
        "path",
    )
    place = F.col("place")
    numbered = files.withColumn("place", F.row_number().over(within_track))
    first = F.first("audio_uri").over(within_track)
    duplicate = F.col("reason").isNull() & (place > 1)
    return (
        numbered.withColumn("first", first)
        .withColumn("crop", F.explode(F.sequence(F.lit(0), F.lit(crops - 1))))
        .select(
            "track_id",
            "crop",
            F.when(place > 1, F.concat_ws("@", _locator(), place.cast("string")))
            .otherwise(_locator())
            .alias("locator"),
            "path",
            *_IDENTITY,
            F.when(duplicate, F.lit("duplicate")).otherwise(F.col("reason")).alias("reason"),
            F.when(duplicate, F.concat(F.lit("the track already has "), "first"))
            .otherwise(F.col("detail"))
            .alias("detail"),
        )
    )


def fates(crops: DataFrame, mel: DataFrame, rejects: DataFrame, attempt_sha256: str) -> DataFrame:
    """Add the column `fate` to `crops`.

    - refused: the listing refused the file.
    - unchanged: `mel` (rows of the same settings) has the crop, with the same URI, size and modification time.
    - remembered: `rejects` (of the same source) has the crop, with the same file and settings, and the cause lies in
      the file.
    - changed: `mel` has the crop of another file or of another version of the file; it is computed again.
    - new: the other crops; they are computed.
    """
    known_identity = F.struct("audio_uri", "file_size", F.unix_micros("file_mtime").alias("file_mtime_us"))
    known = mel.select("track_id", "crop", known_identity.alias("known"))
    raw = F.from_json("raw", _RAW)
    remembered = (
        rejects.where(F.col("reason").isin(*IN_THE_FILE) & (raw["tried_with"] == attempt_sha256))
        .select("locator", *(raw[name].alias(name) for name in _IDENTITY))
        .withColumn("remembered", F.lit(True))
    )
    return (
        crops.join(known, ["track_id", "crop"], "left")
        .join(remembered, ["locator", *_IDENTITY], "left")
        .select(
            *crops.columns,
            F.when(F.col("reason").isNotNull(), REFUSED)
            .when(F.col("known") == F.struct(*_IDENTITY), UNCHANGED)
            .when(F.col("remembered"), REMEMBERED)
            .when(F.col("known").isNotNull(), CHANGED)
            .otherwise(NEW)
            .alias("fate"),
        )
    )


def asked_files(crops: DataFrame) -> DataFrame:
    """Return one row per file with crops to compute: track_id, path, identity and `crops`, their sorted list."""
    return (
        crops.where(F.col("fate").isin(CHANGED, NEW))
        .groupBy("track_id", "path", *_IDENTITY)
        .agg(F.sort_array(F.collect_list("crop")).alias("crops"))
    )


def all_rejects(
    crops: DataFrame, results: DataFrame, before: DataFrame, source: str, mel: MelSettings, day: date
) -> DataFrame:
    """Collect the source's current rows of `rejects`.

    They come from the listing (`crops`, with fates), from the computation (`results` of compute.compute), and from
    `before` (the source's earlier rejects), whose remembered rows stay unchanged.
    """
    columns = ("locator", "path", *_IDENTITY, "reason", "detail")
    listed = crops.where(F.col("fate") == REFUSED).select(*columns)
    tried = results.where(F.col("reason").isNotNull()).withColumn("locator", _locator()).select(*columns)
    new = listed.unionByName(tried).select(
        F.lit("mel").alias("job"),
        F.lit(source).alias("source"),
        "locator",
        F.to_json(F.struct("path", *_IDENTITY, F.lit(mel.attempt_sha256).alias("tried_with"))).alias("raw"),
        "reason",
        "detail",
        F.lit(day).alias("batch_date"),
    )
    remembered = crops.where(F.col("fate") == REMEMBERED).select("locator")
    return new.unionByName(before.join(remembered, "locator", "left_semi"))


def outdated(crops: DataFrame, results: DataFrame, known: DataFrame, mel: MelSettings) -> DataFrame:
    """Return the keys of mel rows whose file has changed and is now refused for its content, or that aren't asked for.

    The latter are of crops beyond mel.crops, which an earlier run made of another version of the file.

    Args:
        crops: result of `fates`.
        results: of compute.compute.
        known: rows of `mel` of the same settings.
        mel: the settings.
    """
    keys = ["track_id", "crop"]
    refused = results.where(F.col("reason").isin(*IN_THE_FILE)).select(keys)
    changed = crops.where(F.col("fate") == CHANGED).select(keys)
    beyond = known.where(F.col("crop") >= mel.crops).join(changed, "track_id", "left_semi").select(keys)
    gone = changed.join(refused, keys, "left_semi").unionByName(beyond)
    return gone.withColumn("settings_sha256", F.lit(mel.settings_sha256))


def _locator() -> Column:
    return F.concat_ws("#", F.coalesce("track_id", F.lit("")), F.col("crop").cast("string"))
