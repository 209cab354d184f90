"""Count free task slots before ranks start; a rank without a slot would block the others without limit."""

from __future__ import annotations

import time

from pyspark.sql import SparkSession

from etude.session import is_local

# Spark updates its lists of tasks by messages: tasks of a stage that just ended may stay listed for a moment.
_SETTLE_S = 5.0


def all_slots(spark: SparkSession) -> int:
    """Return how many tasks the present executors can run at once."""
    scheduler = spark.sparkContext._jsc.sc()
    return int(scheduler.maxNumConcurrentTasks(scheduler.resourceProfileManager().defaultResourceProfile()))


def lasting_executors(spark: SparkSession) -> bool:
    """Return whether executors are present from the start; dynamic allocation adds them with the work."""
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") != "true"


def expected_slots(spark: SparkSession) -> int:
    """Return how many tasks the executors that the settings ask for can run at once; 0 if they don't say how many."""
    conf = spark.sparkContext.getConf()
    instances, cores, per_task = (
        int(conf.get(f"spark.{name}", str(default)) or default)
        for name, default in (("executor.instances", 0), ("executor.cores", 1), ("task.cpus", 1))
    )
    return instances * (cores // per_task)


def free_slots(spark: SparkSession) -> int:
    """Return how many tasks could start now: the slots of the present executors less the running tasks."""
    tracker = spark.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return all_slots(spark) - sum(stage.numActiveTasks for stage in stages if stage is not None)


def wait_for_slots(spark: SparkSession, wanted: int, timeout_s: float) -> int:
    """Return the number of free slots, as soon as `wanted` are free or `timeout_s` seconds have passed.

    Executors of a cluster may still start. A local master adds none: it is given a moment, for tasks that just ended.
    """
    local = is_local(spark.sparkContext.master)
    deadline = time.monotonic() + (_SETTLE_S if local else timeout_s)
    while (free := free_slots(spark)) < wanted:
        if time.monotonic() >= deadline or (local and all_slots(spark) < wanted):
            break
        time.sleep(0.5)
    return free
