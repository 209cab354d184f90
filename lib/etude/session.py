"""Build the SparkSession of a job: Delta, Arrow, the right Python on executors, and the package shipped to them."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

import etude
from etude.config.lake import LakeSettings, SparkSettings
from etude.lake import folders
from etude.storage import for_spark

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

_LOCAL = {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
"""For a local master: nothing on another machine has to reach the driver."""


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
    SparkContext._ensure_initialized()  # starts Java, which has read the files and arguments then
    given = SparkConf()
    if is_local(given.get("spark.master", "")) and not any(map(given.contains, _LOCAL)):
        for key, value in _LOCAL.items():
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setCheckpointDir(spark.checkpoint_dir or for_spark(folders.checkpoints(lake.root, "spark")))
    _ship_package(session)
    return session


def is_local(master: str) -> bool:
    """Tell if driver and executors of a master are one process."""
    return master.split("[")[0] == "local"


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
    folder = tempfile.mkdtemp(prefix="etude-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    context.addPyFile(str(package_archive(Path(folder))))
