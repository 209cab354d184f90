"""Free task slots: ranks that wait for a slot that never comes would wait for ever, so they are counted first."""

from __future__ import annotations

import time

from pyspark.sql import SparkSession

from etude.errors import SettingsError

# Spark tells which tasks run by messages: those of a stage that just ended may stand in its lists for a moment.
_SETTLE_S = 5.0


def all_slots(spark: SparkSession) -> int:
    """Tasks that the executors that are there can run at once."""
    scheduler = spark.sparkContext._jsc.sc()
    return int(scheduler.maxNumConcurrentTasks(scheduler.resourceProfileManager().defaultResourceProfile()))


def lasting_executors(spark: SparkSession) -> bool:
    """Whether executors are there from the start on; under dynamic allocation they come with the work."""
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") != "true"


def free_slots(spark: SparkSession) -> int:
    """Tasks that could start right now: the slots of the executors that are there, less the tasks that run."""
    tracker = spark.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return all_slots(spark) - sum(stage.numActiveTasks for stage in stages if stage is not None)


def require_slots(spark: SparkSession, ranks: int, timeout_s: float) -> None:
    """Wait for `ranks` free slots; executors of a cluster may still be on their way (a local master's never are).

    Raises:
        SettingsError: there are too few after `timeout_s` seconds; at once where a local master has too few at all.
    """
    local = str(spark.sparkContext.master).split("[")[0] == "local"
    deadline = time.monotonic() + (_SETTLE_S if local else timeout_s)
    while (free := free_slots(spark)) < ranks:
        if time.monotonic() >= deadline or (local and all_slots(spark) < ranks):
            raise SettingsError(
                f"train.workers={ranks}: {ranks} ranks need {ranks} free task slots, Spark has {free}; "
                "lower train.workers, or give Spark more cores"
            )
        time.sleep(0.5)
