"""Free task slots: ranks that wait for a slot that never comes would wait for ever, so they are counted first."""

from __future__ import annotations

import time

from pyspark.sql import SparkSession

from etude.errors import SettingsError


def free_slots(spark: SparkSession) -> int:
    """Tasks that could start right now: the slots of the executors that are there, less the tasks that run."""
    context = spark.sparkContext
    scheduler = context._jsc.sc()
    slots = int(scheduler.maxNumConcurrentTasks(scheduler.resourceProfileManager().defaultResourceProfile()))
    tracker = context.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return slots - sum(stage.numActiveTasks for stage in stages if stage is not None)


def require_slots(spark: SparkSession, ranks: int, timeout_s: float) -> None:
    """Wait for `ranks` free slots; executors of a cluster may still be on their way (a local master's never are).

    Raises:
        SettingsError: there are too few after `timeout_s` seconds.
    """
    local = str(spark.sparkContext.master).split("[")[0] == "local"
    deadline = time.monotonic() + (0 if local else timeout_s)
    while (free := free_slots(spark)) < ranks:
        if time.monotonic() >= deadline:
            raise SettingsError(
                f"train.workers={ranks}: {ranks} ranks need {ranks} free task slots, Spark has {free}; "
                "lower train.workers, or give Spark more cores"
            )
        time.sleep(1)
