"""From the lake's tables to the facts of the report: every collect here is of a few grouped or chosen rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from etude.config.audio import MelSettings
from etude.config.report import ReportSettings
from etude.lake import ledger
from etude.lake.lake import Lake
from etude.report.chains import chains, figures
from etude.report.facts import (
    Catalogue,
    Chain,
    Facts,
    Line,
    Listening,
    Lists,
    Mel,
    Rejected,
    Sample,
)
from etude.report.searches import newest_search


class Reader(Protocol):
    """Read tables: a lake, or a job's view of it, which records what it reads."""

    def read(self, table: str, **equals: Any) -> DataFrame:
        """Return the rows of a table that fulfil every `column=value`."""


_MOST_REASONS = 60
_MOST_PLAYED = 5


def gather(reader: Reader, lake: Lake, settings: ReportSettings, written_at: datetime) -> Facts:
    """Gather all facts of the page.

    Args:
        reader: reads the tables.
        lake: looks into runs, releases and metrics.
        settings: the section `report`.
        written_at: the time that the page shows.

    Raises:
        InputMissingError: a run named in the settings isn't there, or the lake holds no succeeded run at all.
    """
    graph = ledger.graph(lake)
    evaluation, production = chains(lake, graph, settings.evaluation_run_id, settings.production_run_id)
    measured = figures(lake, evaluation, production)
    lists: Lists | None = None
    samples: tuple[Sample, ...] = ()
    if "topn" in production:
        run_id = production["topn"].run_id
        lists, samples = count_lists(reader, run_id), sample_lists(reader, run_id, settings)
    mel_rows, mels = mel_pictures(reader, _mel_settings(evaluation, production), settings.mel_pictures, samples)
    return Facts(
        title=settings.title,
        note=settings.note,
        k=settings.k,
        lake=lake.root,
        written_at=written_at,
        listening=listening(reader),
        catalogue=catalogue(reader),
        mel_rows=mel_rows,
        mels=mels,
        evaluation=evaluation,
        evaluation_figures=measured[0],
        production=production,
        production_figures=measured[1],
        lists=lists,
        samples=samples,
        search=newest_search(lake, graph),
    )


def listening(lake: Reader) -> Listening:
    """Counts of plays, interactions and refusals."""
    # One distinct count an aggregation: two in one make Spark copy every row for each.
    plays = lake.read("plays").agg(
        F.count("*").alias("rows"),
        F.coalesce(F.sum("play_count"), F.lit(0)).alias("plays"),
        F.countDistinct("track_id").alias("tracks"),
        F.size(F.collect_set("batch_date")).alias("batches"),
        F.sort_array(F.collect_set("source")).alias("sources"),
        F.min("played_at").alias("first"),
        F.max("played_at").alias("last"),
    )
    matrix = lake.read("interactions")
    users = matrix.agg(F.count("*").alias("interactions"), F.countDistinct("user_idx").alias("interacting_users"))
    tracks = matrix.agg(F.countDistinct("track_idx").alias("interacting_tracks"))
    found = {"users": lake.read("users").count(), **_only(plays), **_only(users), **_only(tracks)}
    found["sources"] = tuple(found["sources"])
    return Listening(**found, rejects=rejects(lake))


def rejects(lake: Reader) -> tuple[Rejected, ...]:
    """Refused inputs by job, source and reason, most frequent first.

    The example is of mel only: what ingest keeps of a record stays in the lake.
    """
    rows = (
        lake.read("rejects")
        .groupBy("job", "source", "reason")
        .agg(
            F.count("*").alias("rows"),
            F.min(F.when(F.col("job") == "mel", F.col("raw"))).alias("example"),
        )
        .orderBy(F.desc("rows"), "job", "source", "reason")
        .limit(_MOST_REASONS)
    )
    return tuple(Rejected(**row.asDict()) for row in rows.collect())


def catalogue(lake: Reader) -> Catalogue:
    """How many tracks have each of title, artist, year, tags and audio."""
    has = {
        "titled": F.col("title").isNotNull(),
        "with_artist": F.col("artist_id").isNotNull(),
        "with_year": F.col("release_year").isNotNull(),
        "with_tags": F.size(F.coalesce("tags", F.array())) > 0,
        "with_audio": F.col("audio_uri").isNotNull(),
    }
    counts = [F.count_if(condition).alias(name) for name, condition in has.items()]
    return Catalogue(**_only(lake.read("tracks").agg(F.count("*").alias("tracks"), *counts)))


def count_lists(lake: Reader, run_id: str) -> Lists:
    """Users, rows and sources of all lists of a run."""
    rows = lake.read("recommendations", run_id=run_id)
    sources = {row["source"]: row["count"] for row in rows.groupBy("source").count().collect()}
    # Every list has a first place; and one distinct count an aggregation, as in `listening`.
    users = rows.where("position = 1").count()
    tracks = _only(rows.agg(F.countDistinct("track_id").alias("tracks")))["tracks"]
    return Lists(users, sum(sources.values()), sources, tracks)


def sample_lists(lake: Reader, run_id: str, settings: ReportSettings) -> tuple[Sample, ...]:
    """A few users' lists beside what they play most."""
    users = sample_users(lake, run_id, settings.sample_users)
    if not users:
        return ()
    tracks = lake.read("tracks").select("track_id", "track_idx", "title", "artist_name")
    lists = (
        lake.read("recommendations", run_id=run_id)
        .where(F.col("user_idx").isin(*users) & (F.col("position") <= settings.sample_length))
        .join(tracks, "track_id", "left")
        .select("user_idx", "position", "title", "artist_name", "track_id", "source", "score")
    )
    mine = lake.read("interactions").where(F.col("user_idx").isin(*users)).join(tracks, "track_idx", "left")
    # max_by-like: the few most played tracks of each user, without ordering the others.
    most = F.sort_array(F.collect_list(F.struct("play_count", "track_id", "title", "artist_name")), asc=False)
    played = mine.groupBy("user_idx").agg(F.slice(most, 1, _MOST_PLAYED).alias("most")).collect()
    return _samples(users, lists.orderBy("user_idx", "position").collect(), played)


def sample_users(lake: Reader, run_id: str, wanted: int) -> dict[int, int]:
    """user_idx -> tracks played of users at even steps from the least to the most active, in that order.

    At each quantile of the number of played tracks, the user with the lowest index; where quantiles fall together, the
    next lowest.
    """
    if wanted == 0:
        return {}
    listed = lake.read("recommendations", run_id=run_id).where("position = 1").select("user_idx")
    activity = lake.read("interactions").groupBy("user_idx").agg(F.count("*").alias("tracks"))
    activity = activity.join(listed, "user_idx", "left_semi")
    steps = [(i + 0.5) / wanted for i in range(wanted)]
    quantiles = _only(activity.agg(F.percentile_approx("tracks", steps).alias("tracks")))["tracks"] or []
    places = F.row_number().over(Window.partitionBy("tracks").orderBy("user_idx"))
    rows = activity.where(F.col("tracks").isin(*quantiles)).select("user_idx", "tracks", places.alias("place"))
    # As many users of each number of tracks as quantiles fell on it.
    due = Counter(quantiles)
    found = rows.where(F.col("place") <= wanted).orderBy("tracks", "place").collect()
    return {row["user_idx"]: row["tracks"] for row in found if row["place"] <= due[row["tracks"]]}


def _samples(users: Mapping[int, int], lists: Iterable[Any], played: Iterable[Any]) -> tuple[Sample, ...]:
    most = {
        row["user_idx"]: tuple(
            Line(p["title"], p["artist_name"], p["track_id"], "played", float(p["play_count"])) for p in row["most"]
        )
        for row in played
    }
    recommended: dict[int, list[Line]] = {}
    for row in lists:
        line = Line(row["title"], row["artist_name"], row["track_id"], row["source"], float(row["score"]))
        recommended.setdefault(row["user_idx"], []).append(line)
    return tuple(Sample(u, n, most.get(u, ()), tuple(recommended.get(u, ()))) for u, n in users.items())


def mel_pictures(
    lake: Reader, settings: MelSettings, wanted: int, samples: Sequence[Sample]
) -> tuple[int, tuple[Mel, ...]]:
    """Number of tracks with mel rows of these settings, and a few of them: those of the sample lists first.

    Of those, cold tracks come before warm ones.
    """
    rows = lake.read("mel", settings_sha256=settings.settings_sha256)
    total = _only(rows.agg(F.countDistinct("track_id").alias("tracks")))["tracks"]
    if not total or not wanted:
        return total, ()
    liked = sorted({(line.source != "cold", line.track_id) for s in samples for line in s.recommended})
    preferred = [track_id for _, track_id in liked]
    first = rows.where("crop = 0")
    shown = first.where(F.col("track_id").isin(*preferred[:200])) if preferred else first.limit(0)
    keys = [row["track_id"] for row in shown.select("track_id").distinct().collect()]
    keys = sorted(keys, key=preferred.index)[:wanted]
    if len(keys) < wanted:
        others = first.where(~F.col("track_id").isin(*keys, "")).select("track_id").distinct()
        keys += [row["track_id"] for row in others.orderBy("track_id").limit(wanted - len(keys)).collect()]
    titles = lake.read("tracks").select("track_id", "title", "artist_name")
    found = first.where(F.col("track_id").isin(*keys)).join(titles, "track_id", "left").collect()
    pictures = {row["track_id"]: _mel(row, settings.hop_length) for row in found}
    return total, tuple(pictures[key] for key in keys)


def _mel(row: Any, hop_length: int) -> Mel:
    db = np.asarray(row["mel"], np.float32).reshape(row["n_mels"], row["n_frames"])
    return Mel(row["track_id"], row["title"], row["artist_name"], db, row["sample_rate"], row["offset_s"], hop_length)


def _mel_settings(*chains: Chain) -> MelSettings:
    """With which settings the sound was made that the network heard; today's where no chain has any that are valid."""
    for chain in chains:
        run = chain.get("train") or chain.get("mel") or next(reversed(chain.values()), None)
        if run is not None:
            with suppress(ValidationError):  # an earlier Etude's
                return MelSettings.model_validate(run.settings.get("mel", {}))
    return MelSettings()


def _only(frame: DataFrame) -> dict[str, Any]:
    row = frame.first()
    return row.asDict() if row is not None else {}
