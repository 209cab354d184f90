"""Collect a network's inputs for each track: its mel, and the indices of its artist, year and tags."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from etude.config.train import TrainSettings
from etude.errors import DataCheckError
from etude.fusion.shape import ExampleShape, MelShape
from etude.fusion.vocabulary import FIRST_ARTIST, FIRST_TAG, FIRST_YEAR, NONE, UNKNOWN, Vocabulary, as_frame

FEATURE_COLUMNS = ("mel", "has_mel", "artist_index", "year_index", "tag_indices", "tag_weights")


def chosen_mel(mel: DataFrame, settings: TrainSettings) -> tuple[DataFrame, MelShape]:
    """Return the crops that a model reads (rows of `mel` made with one set of settings), and their shape.

    Raises:
        DataCheckError: rows differ in shape.
    """
    chosen = mel.where(F.col("crop") < settings.crops).select("track_id", "crop", "mel", "n_mels", "n_frames")
    if settings.model == "embeddings":
        chosen = chosen.limit(0)
    shapes = chosen.select("n_mels", "n_frames").distinct().limit(2).collect()
    if len(shapes) > 1:
        raise DataCheckError("mel: rows of different shapes; recompute them with one set of mel settings")
    return chosen, MelShape(*shapes[0]) if shapes else MelShape()


def known_tracks(tracks: DataFrame, mel: DataFrame, settings: TrainSettings) -> DataFrame:
    """Return the rows of `tracks` that have any input of the model: a mel row, or a field of `train.fields`.

    An artist that no training track has counts too: the network uses its embedding of unknown artists.
    """
    heard = mel.select("track_id").distinct().withColumn("heard", F.lit(True))
    known: list[Column] = [F.coalesce(F.col("heard"), F.lit(False))]
    if settings.reads_metadata:
        fields = {
            "artist": F.col("artist_id").isNotNull(),
            "year": F.col("release_year").isNotNull(),
            "tags": F.coalesce(F.size("tags") > 0, F.lit(False)),
        }
        known += [fields[name] for name in settings.fields]
    joined = tracks.join(heard, on="track_id", how="left")
    return joined.where(reduce(Column.__or__, known)).drop("heard")


def features(
    tracks: DataFrame, mel: DataFrame, vocabulary: Vocabulary, shape: ExampleShape, keep: tuple[str, ...] = ()
) -> DataFrame:
    """Return track_idx, the columns `keep` of `tracks` and FEATURE_COLUMNS, one row per track of `tracks`.

    An artist or year outside the vocabulary becomes UNKNOWN, a missing one NONE. Tags outside it are dropped.
    """
    spark = tracks.sparkSession
    artists = as_frame(spark, vocabulary.artists, "artist_id", "artist_index", "string", FIRST_ARTIST)
    years = as_frame(spark, vocabulary.years, "release_year", "year_index", "int", FIRST_YEAR)
    joined = (
        tracks.select("track_idx", "track_id", "artist_id", "release_year", *keep)
        .join(F.broadcast(artists), on="artist_id", how="left")
        .join(F.broadcast(years), on="release_year", how="left")
        .join(_tag_rows(tracks, vocabulary, shape.tags_per_track), on="track_idx", how="left")
        .join(_mel_rows(mel, shape), on="track_id", how="left")
    )
    no_tags = F.array_repeat(F.lit(0), shape.tags_per_track)
    no_weights = F.array_repeat(F.lit(0.0).cast("float"), shape.tags_per_track)
    silence = F.array_repeat(F.lit(0.0).cast("float"), shape.mel_size)
    return joined.select(
        "track_idx",
        *keep,
        F.coalesce("audible", silence).alias("mel"),
        F.col("audible").isNotNull().cast("int").alias("has_mel"),
        _index("artist_id", "artist_index"),
        _index("release_year", "year_index"),
        F.coalesce("tag_indices", no_tags).alias("tag_indices"),
        F.coalesce("tag_weights", no_weights).alias("tag_weights"),
    )


def _index(value: str, index: str) -> Column:
    return F.when(F.col(value).isNull(), NONE).otherwise(F.coalesce(index, F.lit(UNKNOWN))).alias(index)


def _mel_rows(mel: DataFrame, shape: ExampleShape) -> DataFrame:
    """Return track_id, audible: the crops concatenated; a track with fewer crops repeats its own."""
    if shape.crops == 1:
        return mel.select("track_id", F.col("mel").alias("audible"))
    crops = F.transform(F.array_sort(F.collect_list(F.struct("crop", "mel"))), lambda one: one["mel"])
    places = F.sequence(F.lit(0), F.lit(shape.crops - 1))
    filled = F.transform(places, lambda place: F.get("crops", place % F.size("crops")))
    return mel.groupBy("track_id").agg(crops.alias("crops")).select("track_id", F.flatten(filled).alias("audible"))


def _tag_rows(tracks: DataFrame, vocabulary: Vocabulary, length: int) -> DataFrame:
    """Return track_idx, tag_indices, tag_weights: the heaviest known tags, padded to `length`.

    A weight is log(1 + 100 w / the heaviest w), scaled so that the squares of a track's weights sum to 1. With weights
    that sum to 1, a track of many tags would say less than one of few; undamped, the heaviest tag would say it all.
    """
    known = as_frame(tracks.sparkSession, vocabulary.tags, "tag", "tag_index", "string", FIRST_TAG)
    pairs = (
        tracks.where(F.size("tags") > 0)
        .select("track_idx", F.col("tag_weights").alias("weights"), F.posexplode("tags").alias("place", "tag"))
        .join(F.broadcast(known), on="tag")
        .select("track_idx", "tag_index", "place", F.coalesce(F.get("weights", "place"), F.lit(1.0)).alias("weight"))
        .where(F.col("weight") > 0)
    )
    ordered = F.array_sort(F.collect_list(F.struct((-F.col("weight")).alias("lightness"), "place", "tag_index")))
    taken = pairs.groupBy("track_idx").agg(F.slice(ordered, 1, length).alias("taken"))
    damped = F.transform("taken", lambda one: F.log1p(100 * one["lightness"] / F.get("taken", F.lit(0))["lightness"]))
    norm = F.sqrt(F.aggregate(damped, F.lit(0.0).cast("double"), lambda sum_, one: sum_ + one * one))
    weights = F.transform(damped, lambda one: (one / norm).cast("float"))
    missing = F.lit(length) - F.size("taken")
    return taken.select(
        "track_idx",
        F.concat(F.transform("taken", lambda one: one["tag_index"]), F.array_repeat(F.lit(0), missing)).alias(
            "tag_indices"
        ),
        F.concat(weights, F.array_repeat(F.lit(0.0).cast("float"), missing)).alias("tag_weights"),
    )
