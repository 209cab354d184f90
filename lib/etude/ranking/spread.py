"""Distribute ranking over Spark: the plan is broadcast, users are partitioned, one task makes each list.

A task returns a row per user with the list; with `Plan.repeats` another with the list of heard tracks; with
`Plan.per_user` a row per user, model and slice with the user's metrics; a row per model and slice with their sums; and
a row with its counts. The frame is persisted on disk, because it is read several times: for lists, user metrics, sums
and counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, fields

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from etude.lake.metrics import Metric
from etude.ranking.plan import SOURCES, Plan
from etude.ranking.sums import figures, seen_within, user_metrics
from etude.ranking.task import Checks, Lists, Task, Users, UserValues
from etude.search.candidates import Floats, Pairs

_USERS_TOGETHER = 2048
_SCHEMA = """user_idx int, tracks array<int>, scores array<float>, sources array<int>,
    model string, slice string, user_values array<double>, task int, sums array<double>, seen binary"""
_CHECKS, _REPEATS = "checks", "repeats"
"""Values of `model` in rows that belong to no measured model."""


def user_rows(
    users: DataFrame, factors: DataFrame, heard: DataFrame, relevant: DataFrame, played: DataFrame
) -> DataFrame:
    """Return a row per user: user_idx, factors; heard, relevant, played (arrays of track_idx); null where none are.

    Args:
        users: user_idx of all users who get a list.
        factors: user_idx, factors.
        heard: user_idx, track_idx that may not be listed, distinct.
        relevant: user_idx, track_idx that a good list holds, distinct.
        played: user_idx, track_idx that a list of repeats may hold, distinct.
    """
    rows = users.select("user_idx").join(factors.select("user_idx", "factors"), "user_idx", "left")
    for name, pairs in (("heard", heard), ("relevant", relevant), ("played", played)):
        lists = pairs.groupBy("user_idx").agg(F.collect_list("track_idx").alias(name))
        rows = rows.join(lists, "user_idx", "left")
    return rows.select("user_idx", "factors", "heard", "relevant", "played")


def ranked(rows: DataFrame, plan: Plan, rank: int, tasks: int) -> DataFrame:
    """Rank every user of `user_rows`; the frame is persisted, and the caller unpersists it.

    Args:
        rows: see `user_rows`.
        plan: candidates, models and slices.
        rank: length of the users' factors.
        tasks: number of partitions.
    """
    shared = rows.sparkSession.sparkContext.broadcast(plan)

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # A task has one slot: with more threads, the tasks of a machine would take turns at its cores.
        with threadpool_limits(limits=1):
            yield from _rank_batches(batches, shared.value, rank)

    # Sorted by user_idx, so that a task's batches, and so the sums' last digits, are the same in a rerun.
    ordered = rows.repartition(tasks, "user_idx").sortWithinPartitions("user_idx")
    return ordered.mapInArrow(work, _SCHEMA).persist(StorageLevel.DISK_ONLY)


def _rank_batches(batches: Iterable[pa.RecordBatch], plan: Plan, rank: int) -> Iterator[pa.RecordBatch]:
    task = Task(plan)
    for batch in batches:
        for start in range(0, batch.num_rows, _USERS_TOGETHER):
            users = _users(batch.slice(start, _USERS_TOGETHER), rank)
            found = task.rank(users)
            yield _list_rows(users, found.lists)
            if found.repeats is not None:
                yield _list_rows(users, found.repeats, _REPEATS)
            yield from map(_value_rows, found.user_values)
    context = TaskContext.get()
    yield _sum_rows(task, context.partitionId() if context else 0)


def list_rows(done: DataFrame, tracks: DataFrame, plan: Plan) -> DataFrame:
    """Return user_idx, position, track_id, score, source of every list (see `_places`)."""
    return _places(done.where(F.col("model").isNull()), tracks, plan)


def repeat_rows(done: DataFrame, tracks: DataFrame, plan: Plan) -> DataFrame:
    """Return the same of the lists of heard tracks; no rows unless `Plan.repeats`."""
    return _places(done.where(F.col("model") == _REPEATS), tracks, plan)


def _places(lists: DataFrame, tracks: DataFrame, plan: Plan) -> DataFrame:
    """Return a row for each place of a list.

    Args:
        lists: rows of `ranked`.
        tracks: track_idx, track_id of all tracks; the candidates' rows are broadcast.
        plan: the plan that was ranked.
    """
    listable = lists.sparkSession.createDataFrame(pa.table({"listed_track": plan.candidates}))
    ids = tracks.select(F.col("track_idx").alias("listed_track"), "track_id").join(
        F.broadcast(listable), "listed_track", "left_semi"
    )
    names = F.array(*(F.lit(name) for name in SOURCES))
    places = lists.where(F.col("tracks").isNotNull()).select(
        "user_idx", F.posexplode(F.arrays_zip("tracks", "scores", "sources")).alias("place", "listed")
    )
    return places.join(F.broadcast(ids), F.col("listed.tracks") == F.col("listed_track")).select(
        "user_idx",
        (F.col("place") + 1).alias("position"),
        "track_id",
        F.col("listed.scores").alias("score"),
        F.get(names, F.col("listed.sources")).alias("source"),
    )


def user_metric_rows(done: DataFrame, plan: Plan) -> DataFrame:
    """Return user_idx, model, slice, metric, k, value: the values whose means over users `measured` returns.

    Args:
        done: see `ranked`; without such rows unless `Plan.per_user`.
        plan: the plan that was ranked.
    """
    measures = (F.struct(F.lit(name).alias("metric"), F.lit(k).alias("k")) for name, k in user_metrics(plan.cuts))
    values = done.where(F.col("user_values").isNotNull()).select(
        "user_idx", "model", "slice", F.posexplode("user_values").alias("place", "value")
    )
    measure = F.get(F.array(*measures), F.col("place")).alias("measure")
    known = values.where(~F.isnan("value")).select("user_idx", "model", "slice", measure, "value")
    return known.select("user_idx", "model", "slice", "measure.metric", "measure.k", "value")


def checks(done: DataFrame) -> Checks:
    """Return the sums of all tasks' counts."""
    totals = [F.sum(F.get("sums", F.lit(i))).cast("bigint").alias(f.name) for i, f in enumerate(fields(Checks))]
    row = done.where(F.col("model") == _CHECKS).agg(*totals).first()
    return Checks(*(value or 0 for value in row or ()))


def measured(done: DataFrame, plan: Plan) -> list[Metric]:
    """Return every figure of the plan's models: a few rows per model, slice and k."""
    totals = (
        done.where(F.col("user_idx").isNull() & (F.col("model") != _CHECKS))
        .groupBy("model", "slice")
        .applyInPandas(_add_up(plan.cuts), "model string, slice string, sums array<double>, seen array<bigint>")
    )
    of = {(row["model"], row["slice"]): row for row in totals.collect()}  # one row per model and slice
    found: list[Metric] = []
    for model in plan.models:
        for name in model.slices:
            row = of[model.name, name]
            found += figures(plan, model, name, np.array(row["sums"]), np.array(row["seen"]))
    return found


def _add_up(cuts: tuple[int, ...]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def add_up(parts: pd.DataFrame) -> pd.DataFrame:
        parts = parts.sort_values("task")
        seen = np.frombuffer(zlib.decompress(parts["seen"].iloc[0]), dtype=np.uint8).copy()
        for part in parts["seen"].iloc[1:]:
            np.minimum(seen, np.frombuffer(zlib.decompress(part), dtype=np.uint8), out=seen)
        sums = np.sum(np.stack(list(parts["sums"])), axis=0)
        first = parts.iloc[0]
        rows = {"model": [first["model"]], "slice": [first["slice"]], "sums": [sums], "seen": [seen_within(seen, cuts)]}
        return pd.DataFrame(rows)

    return add_up


def _users(batch: pa.RecordBatch, rank: int) -> Users:
    factors, user_idx = _matrix(batch.column("factors"), rank), batch.column("user_idx").to_numpy()
    return Users(user_idx, factors, *(_pairs(batch.column(name)) for name in ("heard", "relevant", "played")))


def _matrix(factors: pa.ListArray, rank: int) -> Floats:
    """Return (U, rank): zeros where a user has no factors; NaN, all of it, if some have another rank."""
    lengths = pc.fill_null(pc.list_value_length(factors), 0).to_numpy(zero_copy_only=False)
    if not np.isin(lengths, (0, rank)).all():
        return np.full((len(lengths), rank), np.nan, dtype=np.float32)
    matrix = np.zeros((len(lengths), rank), dtype=np.float32)
    matrix[lengths > 0] = _flat(factors).reshape(-1, rank)
    return matrix


def _pairs(lists: pa.ListArray) -> Pairs:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return Pairs(np.repeat(np.arange(len(lengths)), lengths), _flat(lists))


def _flat(lists: pa.ListArray) -> np.ndarray:
    return lists.flatten().to_numpy(zero_copy_only=False)


def _list_rows(users: Users, found: Lists, model: str | None = None) -> pa.RecordBatch:
    listed = found.tracks >= 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(listed.sum(axis=1))]), pa.int32())
    tracks, scores, sources = (pa.ListArray.from_arrays(offsets, pa.array(values[listed])) for values in found)
    return _batch(
        user_idx=pa.array(users.user_idx, pa.int32()),
        model=pa.array([model] * len(users.user_idx), pa.string()),
        tracks=tracks,
        scores=scores,
        sources=sources,
    )


def _value_rows(found: UserValues) -> pa.RecordBatch:
    n, width = found.values.shape
    return _batch(
        user_idx=pa.array(found.user_idx, pa.int32()),
        model=pa.array([found.model] * n, pa.string()),
        slice=pa.array([found.slice] * n, pa.string()),
        user_values=pa.ListArray.from_arrays(
            pa.array(np.arange(n + 1) * width, pa.int32()), pa.array(found.values.ravel())
        ),
    )


def _sum_rows(task: Task, number: int) -> pa.RecordBatch:
    counted = [float(value) for value in astuple(task.checks)]
    rows = [(_CHECKS, "", counted, b"")]
    # A byte for each track, nearly all alike: uncompressed, all tasks' of 400,000 tracks would be gigabytes.
    rows += [
        (model, name, sums.sums.tolist(), zlib.compress(sums.seen.tobytes(), 1))
        for (model, name), sums in task.sums.items()
    ]
    models, slices, sums_, seen = zip(*rows, strict=True)
    return _batch(
        model=pa.array(models),
        slice=pa.array(slices),
        task=pa.array([number] * len(rows), pa.int32()),
        sums=pa.array(sums_, pa.list_(pa.float64())),
        seen=pa.array(seen, pa.binary()),
    )


def _batch(**columns: pa.Array) -> pa.RecordBatch:
    """Return a batch of the given columns, with nulls in all other columns of the schema."""
    length = len(next(iter(columns.values())))
    arrays = [columns.get(name, pa.nulls(length, kind)) for name, kind in _ARROW.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(_ARROW))


_ARROW = {
    "user_idx": pa.int32(),
    "tracks": pa.list_(pa.int32()),
    "scores": pa.list_(pa.float32()),
    "sources": pa.list_(pa.int32()),
    "model": pa.string(),
    "slice": pa.string(),
    "user_values": pa.list_(pa.float64()),
    "task": pa.int32(),
    "sums": pa.list_(pa.float64()),
    "seen": pa.binary(),
}
