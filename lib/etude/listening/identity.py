"""Compute pseudonyms, event ids, record hashes and normal names with Spark's functions."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from etude.frames import small_frame

_BLOCK = 64  # bytes of a SHA-256 block
_HASH_DIGITS = 32  # 128 bits
NAME_PREFIX = "name:"


@dataclass(frozen=True, repr=False)
class Pads:
    """Hold the two blocks that HMAC-SHA256 combines with a message; they are as secret as their key."""

    inner: bytes
    outer: bytes

    @classmethod
    def of(cls, key: bytes) -> Pads:
        """Derive the inner and outer pad from a key (RFC 2104)."""
        block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        return cls(bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block))


def with_pads(rows: DataFrame, pads: Pads) -> DataFrame:
    """Add the columns inner_pad and outer_pad, which `hmac_sha256` needs.

    They come from a frame of one row instead of literals, because query plans print literals: in EXPLAIN, in the web
    UI and in the event log.
    """
    row = [(bytearray(pads.inner), bytearray(pads.outer))]
    frame = small_frame(rows.sparkSession, row, "inner_pad binary, outer_pad binary")
    return rows.crossJoin(F.broadcast(frame))


def hmac_sha256(text: Column) -> Column:
    """Compute HMAC-SHA256 of a text's UTF-8 bytes, in hex, over rows of `with_pads`; null stays null."""
    inner = F.sha2(F.concat(F.col("inner_pad"), text.cast("binary")), 256)
    return F.sha2(F.concat(F.col("outer_pad"), F.unhex(inner)), 256)


def record_hash(raw: Column, keyed: bool = False) -> Column:
    """Return the first 64 bits of SHA-256 (keyed: HMAC-SHA256) of a record's text, as a signed bigint."""
    digits = F.substring(hmac_sha256(raw) if keyed else F.sha2(raw, 256), 1, 16)
    return F.conv(digits, 16, -10).cast("bigint")


def locator(file: Column, record: Column, ordinal: Column) -> Column:
    """Build `path/of.tsv@<content>#<hash of the raw record>.<ordinal among equal records>`."""
    digits = F.lpad(F.lower(F.hex(record)), 16, "0")
    return F.concat(file, F.lit("#"), digits, F.lit("."), ordinal.cast("string"))


def content_of(file_or_locator: Column) -> Column:
    """Extract the first 16 digits of the content hash from a file's name or a locator."""
    return F.regexp_extract(file_or_locator, r"@([0-9a-f]{16})(?:#[0-9a-f]{16}\.[0-9]+)?$", 1)


def hash_of(*fields: Column) -> Column:
    """Hash fields to 128 bits of SHA-256, in hex; lengths separate the fields. Null if a field is null."""
    parts = [F.concat(F.length(field).cast("string"), F.lit(":"), field) for field in fields]
    return F.substring(F.sha2(F.concat(*parts), 256), 1, _HASH_DIGITS)


def event_id(source: str, snapshot: bool, own: Column) -> Column:
    """Compute the id of a play from the columns user_id, track_id, played_at, play_count.

    Args:
        source: name of the log.
        snapshot: whether rows are cumulative counts; the id then covers source, user and track only, otherwise
            played_at and play_count too.
        own: the log's own event id, or null; unless `snapshot`, it replaces all fields but source.
    """
    user, track, name = F.col("user_id"), F.col("track_id"), F.lit(source)
    if snapshot:
        return hash_of(name, user, track)
    moment = F.unix_micros("played_at").cast("string")
    of_fields = hash_of(name, user, track, moment, F.col("play_count").cast("string"))
    return F.coalesce(hash_of(name, own), of_fields)


def _nfkc(text: pd.Series) -> pd.Series:
    """Normalise to NFKC, which Spark has no function for (pyarrow 14's function decomposes)."""
    normal: pd.Series = text.str.normalize("NFKC")
    return normal


def _nfkc_of(name: Column) -> Column:
    normalised: Column = F.pandas_udf(_nfkc, T.StringType())(name)  # type: ignore[call-overload]
    return normalised


def normal_name(name: Column) -> Column:
    """Normalise a name for matching: NFKC, lower case, words of letters and digits separated by one space.

    A name without letters and digits (`!!!`) keeps its symbols. The result is null if nothing is left.
    """
    folded = F.trim(F.regexp_replace(F.lower(_nfkc_of(name)), r"\s+", " "))
    words = F.trim(F.regexp_replace(folded, r"[^\p{L}\p{M}\p{N}]+", " "))
    return F.nullif(F.when(words == "", folded).otherwise(words), F.lit(""))


def name_id(*names: Column) -> Column:
    """Build `name:` plus the hash of normal names, for tracks and artists without an id; null if a name is null."""
    return F.concat(F.lit(NAME_PREFIX), hash_of(*names))
