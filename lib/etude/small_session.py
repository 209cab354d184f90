"""Choose the session for a small input: settings of Spark that save seconds per query on a few megabytes.

For such an input, compiling an expression takes longer than interpreting it, and starting a task longer than running
it. A job finds out by itself how large its input is; nothing has to be set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from etude import storage
from etude.config import Settings
from etude.config.listening import of_batch
from etude.lake import folders
from etude.lake.lake import Lake
from etude.stages import Stage

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""Expressions are interpreted instead of compiled to Java code."""

_SHUFFLE = "spark.sql.shuffle.partitions"


def is_small(stage: Stage, settings: Settings, batch_date: date, lake: Lake) -> bool:
    """Tell if all that a job may read is at most spark.small_input_mb.

    That is the files of the log and the catalogues, and the files of the tables that the stage reads, those of older
    versions included. Audio files don't count: no query of Spark reads them.
    """
    left = settings.spark.small_input_mb * 2**20
    for uri in _inputs(stage, settings, batch_date, lake):
        left -= _bytes(uri, left)
        if left < 0:
            return False
    return left > 0


def _inputs(stage: Stage, settings: Settings, batch_date: date, lake: Lake) -> Iterator[str]:
    if "listening" in stage.sections and settings.listening.path:
        yield of_batch(settings.listening.path, batch_date)
    if "catalogue" in stage.sections:
        yield from (source.path for source in (*settings.catalogue.sources, *settings.catalogue.aliases))
    yield from (folders.table(lake.root, table) for table in stage.reads)


def _bytes(uri: str, enough: int) -> int:
    """Return the size of a file, or of all files below a folder; 0 if nothing is there.

    A pattern counts as more than `enough`, since its files would have to be listed first.
    """
    files = storage.files_below(uri)
    if not files and any(sign in uri for sign in "*?[{") and not storage.exists(uri):
        return enough + 1
    return sum(int(info.size) for info in files)


@contextmanager
def small_session(lake: Lake, settings: Settings) -> Iterator[None]:
    """Set a lake and its session for a small input while the body runs.

    What spark-submit sets of these stays as it is, but the partitions of Delta's snapshots, which every session sets.
    """
    spark = lake.spark
    given = spark.sparkContext.getConf()
    chosen = {name: value for name, value in INTERPRETED.items() if not given.contains(name)}
    if settings.spark.shuffle_partitions is None and not given.contains(_SHUFFLE):
        chosen[_SHUFFLE] = str(spark.sparkContext.defaultParallelism)
    chosen["spark.databricks.delta.snapshotPartitions"] = "1"
    before = {name: str(spark.conf.get(name)) for name in chosen}
    try:
        for name, value in chosen.items():
            spark.conf.set(name, value)
        with lake.collecting():
            yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
