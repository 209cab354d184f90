"""Read lists of aliases: ids that stand for other ids, of tracks or of artists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.config.listening import AliasSource
from etude.errors import DataCheckError
from etude.lake.staging import Staging
from etude.listening.cleaning import text_of
from etude.listening.columns import ALIAS_ROLES, Wanted
from etude.listening.formats import alias_format
from etude.listening.listings import Listing, read_listing, rejects_of
from etude.listening.parsers import Places

_SHOWN = 3


@dataclass(frozen=True)
class Aliases:
    """Hold one list as read."""

    of: str
    """track or artist."""
    source: str
    """Its name in `rejects`."""
    pairs: DataFrame
    """alias, id; repeats are possible."""
    rejects: DataFrame
    """source, locator, raw, reason, detail, batch_date of its rejected rows."""
    columns: Wanted
    """The column of each role."""


def read_aliases(
    staging: Staging, source: AliasSource, batch: date, now: datetime, key: bytes | None = None
) -> Aliases:
    """Read one list.

    Args:
        staging: keeps the records.
        source: the list's path, format and columns.
        batch: the batch date.
        now: the time of the run.
        key: user key; hashes are then keyed.

    Raises:
        InputMissingError: there is no file.
        SettingsError: a requested column is missing.
        DataCheckError: the columns differ between its files.
    """
    form, columns = alias_format(source)
    section = f"catalogue.aliases[{source.known_as}].columns"
    listing = Listing(source.path, form, columns, section, "aliases", ALIAS_ROLES)
    judged, _, wanted = read_listing(staging, listing, _judged, batch, now, key)
    pairs = judged.where(F.col("reason").isNull()).select(text_of("alias").alias("alias"), text_of("id").alias("id"))
    origin = f"aliases:{source.known_as}"
    return Aliases(source.of, origin, pairs, rejects_of(judged, origin, batch), wanted)


def _judged(records: DataFrame, _: Mapping[str, Places]) -> DataFrame:
    """Add the reject reason to records."""
    alias, good = text_of("alias"), text_of("id")
    reason = (
        F.when(F.col("fault").isNotNull(), F.col("fault"))
        .when(alias.isNull() | good.isNull(), "empty_alias")
        .when(alias == good, "alias_of_itself")
    )
    return records.withColumn("reason", reason)


def resolved(lists: Sequence[Aliases], of: str, staging: Staging) -> DataFrame | None:
    """Return what each alias stands for in the end: alias (unique), id (no alias); None without lists.

    If an alias has several ids, the first in text order is used. An alias of an alias stands for what that stands for.

    Args:
        lists: the lists.
        of: track or artist; lists of the others are left out.
        staging: keeps the pairs of every step.

    Raises:
        DataCheckError: aliases stand for each other in a circle.
    """
    pairs = [each.pairs for each in lists if each.of == of]
    if not pairs:
        return None
    known = staging.keep(reduce(DataFrame.unionByName, pairs).groupBy("alias").agg(F.min("id").alias("id")))
    most = known.count()
    length = 1  # of the chains that are followed already; each step doubles it
    while True:
        further = known.select(F.col("alias").alias("id"), F.col("id").alias("next"))
        chained = known.join(further, "id", "left_semi")
        if chained.isEmpty():
            return known
        if length > most:
            raise _circle(of, chained)
        followed = known.join(further, "id", "left")
        known = staging.keep(followed.select("alias", F.coalesce("next", "id").alias("id")))
        length *= 2


def _circle(of: str, chained: DataFrame) -> DataCheckError:
    """Return the error for aliases that lead to no end."""
    some = ", ".join(row["id"] for row in chained.select("id").distinct().orderBy("id").limit(_SHOWN).collect())
    return DataCheckError(
        f"aliases of {of}s lead in a circle, by {some}; expected that each leads to an id that is no alias: correct "
        "the list"
    )
