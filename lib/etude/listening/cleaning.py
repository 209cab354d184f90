"""Verdicts: every record typed, and either clean or refused with the first reason that applies."""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.config.listening import ListeningSettings
from etude.errors import SettingsError
from etude.frames import small_frame
from etude.lake.small import quoted
from etude.listening.identity import event_id, hmac_sha256, name_id, normal_name

_BLANKS = " \t\r\n\u00a0\u3000\ufeff"
_LONGEST_ID = 1024  # characters; what is longer is no id
_LONGEST_NAME = 1024  # characters kept of a title or an artist's name
_LONGEST_SHOWN = 4096  # characters kept of a refused record
_DETAILS = {
    "encoding": "bytes that are not valid in the file's character set",
    "wrong_columns": "another number of columns than the file's other rows",
    "malformed": "not one JSON object",
    "empty_user": "no user id",
    "empty_track": "no track id, and no artist and title to name the track by",
    "absurd_id": f"an id of more than {_LONGEST_ID} characters",
    "bad_count": "the count is not a whole number",
    "negative_count": "the count is below 0",
    "zero_count": "the count is 0",
    "absurd_count": "the count is above listening.max_play_count",
    "bad_timestamp": "the time can't be read",
    "future_timestamp": "the time lies after the moment the file was taken",
    "duplicate": "a repeat of an event that is kept once",
    "bot": "one of more plays than listening.max_plays_per_user or max_plays_per_user_day allows",
    "repeated_header": "the file's line of column names once more",
}


def clean(records: DataFrame, settings: ListeningSettings, roles: frozenset[str], keyed: bool) -> DataFrame:
    """Type the columns of `read_records` and judge every record.

    Args:
        records: what `read_records` gives for the roles of a log.
        settings: caps, and the name of the log.
        roles: roles that some file has a column for.
        keyed: user ids become pseudonyms; the frame has the user key's pads.

    Returns:
        file, first_batch, last_batch, record; reason (null where the record is clean) and raw (the record without its
        user, where refused); event_id, user_id, track_id, played_at, play_count, title, artist, artist_id.
    """
    user, track = text_of("user"), text_of("track")
    if {"artist", "title"} <= roles:
        lacking = track.isNull()
        artist = F.when(lacking, F.col("artist"))
        title = F.when(lacking, F.col("title"))
        track = F.coalesce(track, name_id(normal_name(artist), normal_name(title)))
    count = parse_count(F.col("play_count")) if "play_count" in roles else F.lit(1).cast("bigint")
    played_at = F.coalesce(F.col("played_at_typed"), parse_time(F.col("played_at"), settings.timestamp_format))
    latest = F.col("taken_at") + F.make_dt_interval(days=F.lit(settings.future_days))
    typed = records.withColumns(
        {
            "user_id": hmac_sha256(user) if keyed else user,
            "track_id": track,
            "count": count,
            "played_at": played_at if "played_at" in roles else F.lit(None).cast("timestamp"),
            "longest_id": F.greatest(F.length("user"), F.length("track"), F.length("event")),
        }
    )
    amount = F.col("count")
    reason = (
        F.when(F.col("fault").isNotNull(), F.col("fault"))
        .when(F.col("longest_id") > _LONGEST_ID, "absurd_id")
        .when(F.col("user_id").isNull(), "empty_user")
        .when(F.col("track_id").isNull(), "empty_track")
        .when(amount.isNull(), "bad_count")
        .when(amount < 0, "negative_count")
        .when(amount == 0, "zero_count")
        .when(amount > settings.max_play_count, "absurd_count")
    )
    if "played_at" in roles:
        reason = reason.when(F.col("played_at").isNull(), "bad_timestamp")
        reason = reason.when(F.col("played_at") > latest, "future_timestamp")
    judged = typed.withColumn("reason", reason)
    refused = F.col("reason").isNotNull()
    snapshot = "played_at" not in roles
    judged = judged.withColumn("play_count", F.when(~refused, amount))
    return judged.select(
        "file",
        "first_batch",
        "last_batch",
        "record",
        "reason",
        F.when(refused, F.substring("shown", 1, _LONGEST_SHOWN)).alias("raw"),
        F.when(~refused, event_id(settings.source, snapshot, text_of("event"))).alias("event_id"),
        "user_id",
        "track_id",
        "played_at",
        "play_count",
        *(F.left(text_of(role), F.lit(_LONGEST_NAME)).alias(role) for role in ("title", "artist", "artist_id")),
    )


def text_of(column: str) -> Column:
    """A text without blanks around it; null where nothing is left."""
    return F.nullif(F.btrim(F.col(column), F.lit(_BLANKS)), F.lit(""))


def detail(reason: Column) -> Column:
    """What a reason means, for a person."""
    pairs = ", ".join(quoted(text) for pair in _DETAILS.items() for text in pair)
    return F.try_element_at(F.expr(f"map({pairs})"), reason)  # one call of the JVM, where create_map takes dozens


def parse_count(text: Column) -> Column:
    """A whole number as bigint, null where it isn't one: 3, 3.0 and 3e0 are, 2.5 and NaN aren't.

    What lies beyond +-2^62 becomes that.
    """
    exact = F.trim(text).try_cast("decimal(38,6)")
    whole = F.when(exact == F.floor(exact), F.least(F.greatest(exact, F.lit(-(2**62))), F.lit(2**62)))
    return F.coalesce(text.try_cast("bigint"), whole.cast("bigint"))


def check_time_pattern(spark: SparkSession, pattern: str) -> None:
    """Try a pattern on nothing, which starts no Spark job.

    Raises:
        SettingsError: it isn't one of Spark's.
    """
    try:
        small_frame(spark, [("",)], "text string").select(parse_time(F.col("text"), pattern)).collect()
    except PySparkException as error:
        raise SettingsError(f"listening.timestamp_format={pattern!r}: not a pattern of Spark's for times") from error


def parse_time(text: Column, pattern: str | None = None) -> Column:
    """UTC timestamp of a time as text, null where it can't be read.

    Without a pattern: a date, a date and time of ISO 8601 (UTC where it names no zone), or a Unix time of 9 digits
    and more, whose size tells seconds from milli-, micro- and nanoseconds. Spark's own cast would also take a year
    alone, and a time alone as of today.
    """
    if pattern is not None:
        return F.try_to_timestamp(F.trim(text), F.lit(pattern))
    trimmed = F.trim(text)
    iso = F.when(trimmed.rlike(r"^\d{4}-\d{1,2}-\d{1,2}([T ]|$)"), trimmed.try_cast("timestamp"))
    unix = F.when(trimmed.rlike(r"^\d{9,19}(\.\d*)?$"), trimmed.try_cast("decimal(38,6)"))
    micros = (
        F.when(unix < 10**11, unix * 10**6)
        .when(unix < 10**14, unix * 10**3)
        .when(unix < 10**17, unix)
        .otherwise(unix / 10**3)
    )
    return F.coalesce(iso, F.timestamp_micros(micros.try_cast("bigint")))
