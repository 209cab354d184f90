"""Build the SparkSession of a job: Delta, Arrow, the right Python on executors, and the package shipped to them."""

from __future__ import annotations

import functools
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

import etude
from etude import machine, scratch
from etude.config.lake import LakeSettings, SparkSettings
from etude.lake import folders
from etude.storage import for_spark, to_uri

_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

_ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Microseconds, not the legacy INT96 that pyarrow reads as nanoseconds and polars refuses.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}

LOOPBACK = "127.0.0.1"

_LOOPBACK = {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
"""For a local master: nothing on another machine has to reach the driver."""

_JAVA_OF_EXECUTORS, _COMPILES_ALL = "spark.executor.extraJavaOptions", "-XX:-DontCompileHugeMethods"
"""By default Java only interprets the long methods that Spark generates for ingest."""

_SLOT_CHECKS = "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures"
"""A check each 15 s: after two minutes the job itself decides what to do without the slots, instead of after ten."""

_UMASK = "spark.hadoop.fs.permissions.umask-mode"
_LOCAL_DIRS = "spark.local.dir"


def build_session(app_name: str, spark: SparkSettings, lake: LakeSettings) -> SparkSession:
    """Start the session, or join the one that runs, and ship the package to its executors.

    What spark-submit or spark-defaults.conf sets (master, memory, cores, jars) is left as it is. With a local master,
    the driver listens on loopback only, unless its host or address is set there.
    """
    # Read when the SparkContext starts: without it, workers take whatever `python3` their PATH finds first.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name)
    for key, value in {**_DELTA, **_ALWAYS}.items():
        builder = builder.config(key, value)
    builder = builder.config("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())
    builder = builder.config("spark.databricks.delta.snapshotPartitions", str(spark.snapshot_partitions))
    if spark.shuffle_partitions is not None:
        builder = builder.config("spark.sql.shuffle.partitions", str(spark.shuffle_partitions))
    if SparkContext._active_spark_context is None:
        for key, value in _of_machine(lake.root).items():
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setCheckpointDir(spark.checkpoint_dir or for_spark(folders.checkpoints(lake.root, "spark")))
    _ship_package(session)
    return session


def _of_machine(root: str) -> dict[str, str]:
    """Start Java, unless it runs, and return what follows from this machine: addresses, permissions, folders."""
    SparkContext._ensure_initialized()
    given, mine = SparkConf(), _temporary_files()
    chosen = {}
    if to_uri(root).startswith("file:"):
        # Hadoop doesn't ask the process for its umask. That of a store such as hdfs: is set there.
        chosen[_UMASK] = f"{machine.umask():03o}"
    local = is_local(given.get("spark.master", None))
    if local and not any(map(given.contains, _LOOPBACK)):
        chosen |= _LOOPBACK
    if local:
        chosen["spark.executorEnv.TMPDIR"] = str(mine)
    else:
        chosen[_JAVA_OF_EXECUTORS] = _COMPILES_ALL
        chosen[_SLOT_CHECKS] = "8"
    chosen = {name: value for name, value in chosen.items() if not given.contains(name)}
    if local and given.contains(_LOCAL_DIRS):
        chosen[_LOCAL_DIRS] = ",".join(str(scratch.folder(each)) for each in given.get(_LOCAL_DIRS, "").split(","))
    return chosen


@functools.cache
def _temporary_files() -> Path:
    """Return this program's folder for temporary files, into which Java puts its own from now on.

    spark-submit has made a folder before, and removes it at the end. It is empty, unless files were fetched from
    elsewhere, and is removed here: a killed job would leave it.
    """
    jvm: Any = SparkContext._jvm
    below = Path(jvm.java.lang.System.getProperty("java.io.tmpdir"))
    hooks = jvm.org.apache.spark.util.ShutdownHookManager
    for early in below.glob("spark-*"):
        if hooks.hasShutdownDeleteDir(jvm.java.io.File(str(early))):
            with suppress(OSError):
                early.rmdir()
    mine = scratch.folder(str(below))
    jvm.java.lang.System.setProperty("java.io.tmpdir", str(mine))
    return mine


def is_local(master: str | None) -> bool:
    """Tell if driver and executors of a master are one process."""
    return str(master).split("[")[0] == "local"


@contextmanager
def spark_session(app_name: str, spark: SparkSettings, lake: LakeSettings) -> Iterator[SparkSession]:
    """Yield a session, and stop it at the end even after an error."""
    session = build_session(app_name, spark, lake)
    try:
        yield session
    finally:
        session.stop()


def spark_work(spark: SparkSession) -> str:
    """Return the active Spark stages with their tasks, as `stage=12 tasks=3/40`; empty if none is active."""
    tracker = spark.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
    return " ".join(f"stage={s.stageId} tasks={s.numCompletedTasks}/{s.numTasks}" for s in stages if s is not None)


def package_archive(folder: Path) -> Path:
    """Write the etude package as a zip that Python can import; return its path."""
    root = Path(etude.__file__).parent
    archive = folder / f"etude-{etude.__version__}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(root.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                packed.write(file, Path("etude") / file.relative_to(root))
    return archive


def _ship_package(session: SparkSession) -> None:
    """Send the package to the executors with the job, so none of them needs an installed copy."""
    context = session.sparkContext
    if any(Path(path).name.startswith("etude-") for path in context._python_includes or ()):
        return
    # The driver serves the archive to executors that come later, so it lives as long as the program.
    context.addPyFile(str(package_archive(_temporary_files())))
