"""Draw numbers from ids, the same in Spark and in numpy, independent of order, partitioning and machine.

A draw is a pure function of (seed, purpose, keys). Text ids become 60-bit keys (sha256). Keys are mixed by xxHash64 of
longs, which is built into Spark and takes a dozen array operations in numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(0x9E3779B185EBCA87),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
    np.uint64(0x85EBCA77C2B2AE63),
    np.uint64(0x27D4EB2F165667C5),
)
_SPARK_SEED = np.uint64(42)


def id_key(column: Column) -> Column:
    """Return 60 bits of the sha256 of a text column, as bigint; null stays null."""
    return F.conv(F.substring(F.sha2(column, 256), 1, 15), 16, 10).cast("bigint")


def id_keys(ids: Iterable[str]) -> np.ndarray:
    """Compute `id_key` for ids in memory: (n,) int64."""
    return np.array([int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) for text in ids], dtype=np.int64)


def uniform(seed: int, purpose: str, *keys: Column) -> Column:
    """Draw a double in [0, 1) from seed, purpose and bigint keys."""
    first = (F.lit(seed).cast("bigint"), F.lit(int(id_keys([purpose])[0])).cast("bigint"))
    mixed = F.xxhash64(*first, *(key.cast("bigint") for key in keys))
    return F.shiftrightunsigned(mixed, 11).cast("double") / F.lit(float(2**53))


def uniforms(seed: int, purpose: str, *keys: np.ndarray) -> np.ndarray:
    """Compute `uniform` for integer keys in memory (broadcast against one another): float64."""
    mixed = np.array(_SPARK_SEED)
    for key in (np.int64(seed), id_keys([purpose])[0], *keys):
        mixed = _mix(np.asarray(key), mixed)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(2**53)


def _mix(key: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Compute the xxHash64 of one long."""
    with np.errstate(over="ignore"):  # arithmetic is modulo 2**64
        mixed = seed + _P5 + np.uint64(8)
        mixed = mixed ^ (_rotate(key.astype(np.int64).view(np.uint64) * _P2, 31) * _P1)
        mixed = _rotate(mixed, 27) * _P1 + _P4
        mixed = (mixed ^ (mixed >> np.uint64(33))) * _P2
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _P3
        return mixed ^ (mixed >> np.uint64(32))


def _rotate(bits: np.ndarray, by: int) -> np.ndarray:
    return (bits << np.uint64(by)) | (bits >> np.uint64(64 - by))
