"""Run a training from the driver: start the ranks, and turn their results into figures."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator, Sequence

from pyspark.sql import SparkSession

from etude import storage
from etude.causes import WORKER_LOST, cause_of
from etude.config.train import TrainSettings
from etude.errors import EtudeError, SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.checkpoint import Checkpoint, EpochFigures
from etude.fusion.distribution import chosen_name, distribution
from etude.fusion.loop import Training, best_epoch, failure_uri, read_reason, reason_uri, work
from etude.lake.metrics import Metric
from etude.slots import wait_for_slots

_CONNECTION = re.compile(
    r"HorovodInternalError|DistBackendError|DistNetworkError|[Cc]onnection|[Bb]roken pipe|[Tt]imed out"
)
"""What a rank says if a peer is gone."""

_PROCESS_LOST = re.compile(rf"{WORKER_LOST}|[Ee]xit code: (?:-9|137)")
"""What Spark or Horovod says if a rank's process was killed."""

# These may differ between a training and its resumption without changing the result.
_FREE_TO_CHANGE = frozenset(
    {
        *("epochs", "patience", "workers", "distribution", "device", "reader", "slots_timeout_s", "threads"),
        *("network_share", "ridge_mb", "keep_epochs", "unknown_warning"),
    }
)


def rank_count(settings: TrainSettings) -> int:
    """Return the number of ranks that train."""
    return 1 if settings.distribution == "single" else settings.workers


def check_slots(spark: SparkSession, settings: TrainSettings) -> None:
    """Check that the ranks can start, waiting for a cluster's executors.

    Raises:
        SettingsError: there are fewer free task slots than ranks, or Spark would assign a GPU to several.
    """
    ranks = rank_count(settings)
    if settings.distribution == "single":
        return
    amount = spark.sparkContext.getConf().get("spark.task.resource.gpu.amount", "1")
    if settings.device != "cpu" and not float(amount or 1).is_integer():
        raise SettingsError(
            f"spark.task.resource.gpu.amount={amount}: ranks would share a GPU, which NCCL doesn't admit; set 1, or "
            "train.device=cpu"
        )
    free = wait_for_slots(spark, ranks, settings.slots_timeout_s)
    if free < ranks:
        raise SettingsError(
            f"train.workers={ranks}: {ranks} ranks need {ranks} free task slots, Spark has {free}; "
            "lower train.workers, or give Spark more cores"
        )


def train_network(spark: SparkSession, training: Training, log: logging.Logger) -> list[EpochFigures]:
    """Run the ranks of `training`, and return the figures of all epochs. The checkpoints of its folder hold the result.

    Raises:
        SettingsError: there are fewer free task slots than ranks.
        DataCheckError: the loss wasn't finite, or the files of the examples don't hold the table's rows.
        EtudeError: a rank was lost, or another error of a rank's own.
    """
    settings = training.settings
    name, ranks = chosen_name(settings.distribution, settings.device), rank_count(settings)
    log.info(
        "distribution=%s ranks=%d reader=%s model=%s", name, ranks, training.settings.reader, training.settings.model
    )
    check_slots(spark, training.settings)
    reasons, failures = ([uri(training.folder, rank) for rank in range(ranks)] for uri in (reason_uri, failure_uri))
    for earlier in (*reasons, *failures):
        storage.delete(earlier)
    try:
        results = distribution(name)(spark, work, training, ranks)
    except EtudeError:
        raise
    except Exception as error:
        for reason in reasons:
            if storage.exists(reason):
                raise read_reason(reason) from error
        lost = _lost(failures, error)
        if lost:
            run_id, said = posixpath.basename(training.folder), " and ".join(map(str, lost))
            raise EtudeError(
                f"rank {said} of {ranks} ended without an error of its own ({cause_of(error)}): its process was "
                f"killed, or its machine was lost; the same command with --run-id {run_id} --resume goes on after the "
                "last finished epoch"
            ) from error
        raise
    return [EpochFigures(**figures) for figures in results[0]]


def _lost(failures: Sequence[str], error: Exception) -> list[int]:
    """Return the ranks that left no error, if those of the others are of lost connections; else nothing.

    If no rank has left one, they were lost only if their processes were: otherwise none has begun.
    """
    said = {rank: storage.read_bytes(uri).decode() for rank, uri in enumerate(failures) if storage.exists(uri)}
    lost = all(map(_CONNECTION.search, said.values())) if said else _PROCESS_LOST.search(str(error))
    if not lost:
        return []
    return [rank for rank in range(len(failures)) if rank not in said]


def resumable(folder: str, settings: TrainSettings) -> Checkpoint | None:
    """Return the last checkpoint of `folder`, or None if there is none.

    Raises:
        SettingsError: it was made with other settings or another number of ranks, so that the result would be a
            mixture of the two.
    """
    last = checkpoints.last_uri(folder)
    if not storage.exists(last):
        return None
    found = checkpoints.read(last)
    changed = [
        f"train.{name} was {getattr(found.settings, name)!r}, is {getattr(settings, name)!r}"
        for name in TrainSettings.model_fields
        if name not in _FREE_TO_CHANGE and getattr(found.settings, name) != getattr(settings, name)
    ]
    if rank_count(found.settings) != rank_count(settings):
        changed.append(
            f"{rank_count(found.settings)} ranks trained, now {rank_count(settings)} would train "
            "(train.workers, train.distribution)"
        )
    if changed:
        raise SettingsError("--resume: " + "; ".join(changed))
    return found


def curves(history: Sequence[EpochFigures], settings: TrainSettings) -> Iterator[Metric]:
    """Return losses, speed and input wait of each epoch (step = epoch), and the best epoch."""
    for figures in history:
        values = {
            ("train", "loss"): figures.train_loss,
            ("validation", "loss"): figures.validation_loss,
            ("train", "rows_per_s"): figures.rows_per_s,
            ("train", "input_wait_share"): figures.input_wait_share,
            ("train", "dropped_rows"): figures.dropped_rows,
        }
        for (part, metric), value in values.items():
            if value is not None:
                yield Metric(settings.model, part, metric, value, step=figures.epoch, seed=settings.seed)
    yield Metric(settings.model, "validation", "best_epoch", best_epoch(list(history)), seed=settings.seed)
