"""Type every record, and accept it or reject it with the first reason that applies."""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from etude.config.listening import ListeningSettings
from etude.errors import SettingsError
from etude.frames import small_frame
from etude.lake.conditions import quoted
from etude.listening.identity import event_id, hmac_sha256, name_id, normal_name
from etude.pseudonym import BLANKS

_LONGEST_ID = 1024  # characters; longer ids are rejected
_LONGEST_NAME = 1024  # characters kept per title or artist name
_LONGEST_SHOWN = 4096  # characters kept per rejected record
_DETAILS = {
    "encoding": "the row has bytes that are not valid in the character set of the setting encoding",
    "too_long": "the record is longer than the setting max_record_bytes",
    "wrong_columns": "the row's number of columns differs from the file's other rows",
    "malformed": "the line is not a single JSON object",
    "empty_user": "the row has no user id",
    "empty_track": "the row has no track id, and no artist and title to identify the track",
    "empty_alias": "the row has no alias, or no id that it stands for",
    "alias_of_itself": "the row says that an id stands for itself",
    "absurd_id": f"an id is longer than {_LONGEST_ID} characters",
    "bad_count": "the count is not a whole number",
    "negative_count": "the count is below 0",
    "zero_count": "the count is 0",
    "absurd_count": "the count is above listening.max_play_count",
    "bad_timestamp": "the time can't be parsed",
    "early_timestamp": "the time is before listening.earliest",
    "future_timestamp": "the time is more than listening.future_days after the file was first read",
    "duplicate": "the row repeats an event that is already counted",
    "bot": "the user's plays exceed listening.max_plays_per_user or max_plays_per_user_day",
    "repeated_header": "the row repeats the file's header",
}


def clean(records: DataFrame, settings: ListeningSettings, roles: frozenset[str], keyed: bool) -> DataFrame:
    """Type the columns of `read_records` and judge every record.

    Args:
        records: result of `read_records` for the roles of a log.
        settings: limits on plays, and the name of the log.
        roles: roles that have a column in at least one file.
        keyed: whether user ids become pseudonyms; the frame then has the user key's pads.

    Returns:
        file, first_batch, last_batch, record; reason (null for a clean record) and raw (for a rejected record, its
        text without the user); event_id, user_id, track_id, played_at, play_count, title, artist, artist_id.
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
        reason = reason.when(F.col("played_at") < F.lit(settings.earliest).cast("timestamp"), "early_timestamp")
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
    """Return a text column without surrounding blanks; null if nothing is left."""
    return F.nullif(F.btrim(F.col(column), F.lit(BLANKS)), F.lit(""))


def detail(reason: Column) -> Column:
    """Return the explanation of a reject reason."""
    pairs = ", ".join(quoted(text) for pair in _DETAILS.items() for text in pair)
    return F.try_element_at(F.expr(f"map({pairs})"), reason)  # one JVM call; create_map needs dozens


def parse_count(text: Column) -> Column:
    """Parse a whole number as bigint: 3, 3.0 and 3e0 are whole; 2.5 and NaN give null.

    Numbers beyond +-2^62 are clipped to it.
    """
    exact = F.trim(text).try_cast("decimal(38,6)")
    whole = F.when(exact == F.floor(exact), F.least(F.greatest(exact, F.lit(-(2**62))), F.lit(2**62)))
    return F.coalesce(text.try_cast("bigint"), whole.cast("bigint"))


def check_time_pattern(spark: SparkSession, pattern: str) -> None:
    """Check a time pattern on an empty text, without a Spark job.

    Raises:
        SettingsError: Spark doesn't accept the pattern.
    """
    try:
        small_frame(spark, [("",)], "text string").select(parse_time(F.col("text"), pattern)).collect()
    except PySparkException as error:
        raise SettingsError(
            f"listening.timestamp_format={pattern!r}: not a Spark datetime pattern; expected, for example, "
            "dd/MM/yyyy HH:mm"
        ) from error


def parse_time(text: Column, pattern: str | None = None) -> Column:
    """Parse a time as a UTC timestamp; null if it can't be parsed.

    Without a pattern, accept ISO 8601 dates, with or without a time (UTC if there is no zone), and Unix times of 9 or
    more digits, also as 1.7145576E9. The magnitude distinguishes seconds from milli-, micro- and nanoseconds. Spark's
    cast would also accept a year alone, and a time alone as today's.
    """
    if pattern is not None:
        return F.try_to_timestamp(F.trim(text), F.lit(pattern))
    trimmed = F.trim(text)
    iso = F.when(trimmed.rlike(r"^\d{4}-\d{1,2}-\d{1,2}([T ]|$)"), trimmed.try_cast("timestamp"))
    number = F.when(trimmed.rlike(r"^\d+(\.\d*)?([eE]\+?\d+)?$"), trimmed.try_cast("decimal(38,6)"))
    unix = F.when((number >= 10**8) & (number < 2**63 - 1), number)
    micros = (
        F.when(unix < 10**11, unix * 10**6)
        .when(unix < 10**14, unix * 10**3)
        .when(unix < 10**17, unix)
        .otherwise(unix / 10**3)
    )
    return F.coalesce(iso, F.timestamp_micros(micros.try_cast("bigint")))
