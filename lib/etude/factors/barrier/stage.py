"""Run the ranks as one barrier stage, from its last kept iteration again if one of them is lost.

Factors never pass the driver, and a half sweep starts no Spark task: after the interactions have been dealt to the
ranks, these work on their own until the fit ends. They write the factors as files, which become the frames of the
result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pyspark import BarrierTaskContext, Broadcast, Row
from pyspark.sql import DataFrame, SparkSession

import etude
from etude import storage
from etude.causes import WORKER_LOST, cause_of
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, EtudeError, SettingsError
from etude.factors.barrier.kept import Kept, Newest
from etude.factors.barrier.rank import Task, work
from etude.factors.barrier.ring import Door, new_key
from etude.factors.barrier.rows import SIDES, Deal, dealt, received
from etude.factors.blocks import Axis
from etude.factors.fit import Earlier, Fit, Progress, unwatched
from etude.factors.objective import converged
from etude.session import is_local
from etude.slots import all_slots, expected_slots, lasting_executors, wait_for_slots
from etude.worker import lean_worker

_ATTEMPTS = 4
"""Losses of ranks, without a kept iteration between them, until the fit fails: as many as Spark gives a task."""
_WAIT_S = 120.0
"""Time for executors to come, or to come back; then fewer ranks go on."""
_SETTLE_S = 5.0
"""Time for the slots of tasks that have just ended to be free again."""
_POLL_S = 1.0
_LOST = re.compile(rf"PeerLostError|ReplacedError|SlotsLostError|{WORKER_LOST}|FetchFailed|SPARK-24819")
"""SPARK-24819 is what Spark says if there are fewer slots than ranks when the stage is to start."""
_FREE_TO_CHANGE = frozenset({"mode", "engine", "partitions", "max_broadcast_mb", "checkpoint_interval", "window_days"})

log = logging.getLogger("etude.wmf")


def unavailable(spark: SparkSession) -> str | None:
    """Return why no barrier stage can run in this session; None if one can."""
    if not lasting_executors(spark):
        return "dynamic allocation admits no barrier stage"
    if wait_for_slots(spark, 1, _SETTLE_S) < 1:
        return "no task slot is free"
    return None


def fit(
    interactions: DataFrame,
    settings: WmfSettings,
    folder: str,
    progress: Progress = unwatched,
    earlier: Earlier | None = None,
) -> Fit:
    """Fit factors (see `Engine`). The frames of the result read files in `folder`.

    A fit of the same interactions, settings and earlier factors that was cut short left its last kept iteration there,
    and goes on.

    Raises:
        SettingsError: this session admits no barrier stage.
        EtudeError: ranks were lost again and again.
    """
    spark = interactions.sparkSession
    reason = unavailable(spark)
    if reason is not None:
        raise SettingsError(f"wmf.engine=barrier: {reason}; take wmf.engine=auto")
    of_users, cells = Axis.with_hash(interactions, "user_idx")
    axes = {"user": of_users, "track": Axis.of(interactions, "track_idx")}
    kept = Kept(folder, _fingerprint(cells, axes, settings, earlier))
    kept.remove_others()
    shared = spark.sparkContext.broadcast(axes)
    try:
        done = _with_patience(_Input(interactions, earlier), shared, settings, kept, progress)
    finally:
        shared.destroy()
    for side in SIDES:
        kept.check(done, side, len(axes[side]))
    users, tracks = (
        spark.read.schema(f"{side}_idx int, factors array<float>").parquet(
            storage.literal(storage.for_spark(kept.folder(done, side)))
        )
        for side in SIDES
    )
    return Fit(users, tracks, done.losses)


class _Input(NamedTuple):
    """Hold what a fit reads."""

    interactions: DataFrame
    earlier: Earlier | None


def _with_patience(
    given: _Input, axes: Broadcast[dict[str, Axis]], settings: WmfSettings, kept: Kept, progress: Progress
) -> Newest:
    """Run the stage until it ends; return its last iteration."""
    spark = given.interactions.sparkSession
    ranks, lost, failed_at = 0, 0, -1
    while True:
        done = kept.newest()
        if converged(done.losses, settings):
            return done
        if done.iteration:
            log.info("engine=barrier goes on after iteration=%d of=%d", done.iteration, settings.iterations)
        ranks = _ranks(spark, axes.value, settings, ranks)
        try:
            kept.remove_unfinished()
            stage = partial(_run, given, axes, settings, kept, done, ranks)
            _watched(stage, _Slots(spark, ranks), settings, kept, done.iteration, progress)
        except Exception as error:
            if not _LOST.search(f"{type(error).__name__} {error}"):
                raise
            at = kept.newest().iteration
            lost, failed_at = (lost + 1, failed_at) if at == failed_at else (1, at)
            if lost >= _ATTEMPTS:
                raise EtudeError(
                    f"ranks of the fit were lost {lost} times after iteration {at} ({cause_of(error)}): their "
                    "processes were killed, perhaps for memory (spark.executor.memoryOverhead), or their machines were "
                    "lost or can't reach each other"
                ) from error
            log.warning("engine=barrier ranks=%d lost a rank; the fit goes on after iteration=%d", ranks, at)


class SlotsLostError(Exception):
    """Tell that there are fewer slots than ranks: Spark then lets a barrier stage wait, without limit."""


class _Slots:
    """Watch the slots that the ranks need."""

    def __init__(self, spark: SparkSession, ranks: int):
        self.spark, self._ranks, self._there = spark, ranks, time.monotonic()

    def check(self) -> None:
        """Check that there have been enough slots within _WAIT_S.

        Raises:
            SlotsLostError: there haven't.
        """
        if all_slots(self.spark) >= self._ranks:
            self._there = time.monotonic()
        elif time.monotonic() - self._there > _WAIT_S:
            raise SlotsLostError(f"{self._ranks} ranks have had fewer task slots for {_WAIT_S:.0f} s")


def _watched(
    stage: Callable[[], None], slots: _Slots, settings: WmfSettings, kept: Kept, done: int, progress: Progress
) -> None:
    """Run the stage in a thread while this one reports progress; an interrupt ends it, and so does a lack of slots."""
    kept.tell(done)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(stage)
        try:
            for _ in progress(_finished(running, kept, done, slots), "factorising", settings.iterations):
                pass
        except BaseException:
            slots.spark.sparkContext.cancelAllJobs()
            raise
        running.result()


def _ranks(spark: SparkSession, axes: dict[str, Axis], settings: WmfSettings, before: int) -> int:
    """Return the number of ranks: the free slots, but no more than blocks, and after a loss than before it.

    Executors that have gone may come back, and at the start of an application some may still be missing.

    Raises:
        SettingsError: no slot is free.
    """
    expected = expected_slots(spark)
    wanted = before or min(expected, settings.partitions or expected)
    free = wait_for_slots(spark, max(1, wanted), _WAIT_S)
    if free < 1:
        raise SettingsError("wmf.engine=barrier: no task slot is free; give Spark more cores")
    most = max(len(Deal.of(axis.counts, free, settings).starts) - 1 for axis in axes.values())
    return min(free, before or free, settings.partitions or free, most)


def _run(
    given: _Input,
    axes: Broadcast[dict[str, Axis]],
    settings: WmfSettings,
    kept: Kept,
    done: Newest,
    ranks: int,
) -> None:
    """Run the stage once.

    Raises:
        DataCheckError: a factor is not finite.
    """
    begun = time.monotonic()
    spark = given.interactions.sparkSession
    deals = {side: Deal.of(axis.counts, ranks, settings) for side, axis in axes.value.items()}
    earlier = None if done.iteration else given.earlier
    chunks = dealt(given.interactions, axes.value, deals, ranks, settings, earlier)
    log.info("engine=barrier ranks=%d dealt_s=%.1f", ranks, time.monotonic() - begun)
    local = is_local(spark.sparkContext.master)
    stage = _Stage(axes, deals, settings, kept, done, uuid.uuid4().hex, key=new_key(), local=local)
    ended = chunks.barrier().mapPartitions(stage).collect()  # an item per rank
    problems = [problem for problem, _ in ended if problem]
    if problems:
        raise DataCheckError(problems[0])
    kinds = " ".join(
        f"{kind}={min(told[kind] for _, told in ended):.2f}..{max(told[kind] for _, told in ended):.2f}"
        for kind in ended[0][1]
    )
    log.info("engine=barrier ranks=%d seconds=%.1f %s", ranks, time.monotonic() - begun, kinds)


@dataclass(frozen=True)
class _Stage:
    """Be the function of the stage's tasks, each of which is a rank."""

    axes: Broadcast[dict[str, Axis]]
    deals: dict[str, Deal]
    settings: WmfSettings
    kept: Kept
    done: Newest
    attempt: str
    key: bytes
    local: bool

    def __call__(self, chunks: Iterable[Row]) -> Iterator[tuple[str, dict[str, float]]]:
        """Do a rank's work; yield why the fit ended early, or nothing, and figures for the log."""
        lean_worker()
        context, begun = BarrierTaskContext.get(), time.monotonic()
        hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        rank = context.partitionId()
        mine = received(chunks, self.deals, rank)
        received_s = time.monotonic() - begun
        task = Task(self.axes.value, self.deals, self.settings, self.kept, self.done, self.attempt)
        door = Door(None if self.local else hosts[rank], self.key, context.allGather)
        try:
            figures = work(task, rank, mine, door, len(hosts))
        except DataCheckError as error:  # all ranks know it
            yield str(error), {}
        else:
            yield "", {"receiving_s": received_s, **figures}
        finally:
            door.close()


def _finished(stage: Future[None], kept: Kept, done: int, slots: _Slots) -> Iterator[int]:
    """Yield the iterations as they end, while the stage runs."""
    told = done
    yield from range(1, done + 1)
    while not stage.done():
        wait([stage], _POLL_S)
        slots.check()
        now = kept.told()
        yield from range(told + 1, now + 1)
        told = max(told, now)


def _fingerprint(cells: int, axes: dict[str, Axis], settings: WmfSettings, earlier: Earlier | None) -> str:
    """Return what identifies a fit: the interactions, the start, and the settings that its result depends on."""
    asked = {name: value for name, value in settings.model_dump().items() if name not in _FREE_TO_CHANGE}
    told = [etude.__version__, asked, cells, earlier and earlier.name]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for side in SIDES:
        digest.update(axes[side].idx.tobytes() + axes[side].counts.tobytes())
    return digest.hexdigest()[:16]
