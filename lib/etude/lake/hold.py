"""One run at a time on a batch: a lease file with a heartbeat, taken by an exclusive create."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from etude import storage
from etude.errors import BatchHeldError

_BEATS_PER_TIMEOUT = 6


@contextmanager
def batch_hold(spark: SparkSession, lease_uri: str, run_id: str, timeout_s: int) -> Iterator[None]:
    """Hold a batch while the body runs.

    A lease whose process is dead (same host) or whose heartbeat is older than `timeout_s` is taken over.

    Raises:
        BatchHeldError: another living run holds it.
    """
    mine = {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid()}
    if not _create(spark, lease_uri, _lease(mine)):
        holder = _read(lease_uri)
        if holder is not None and _alive(holder, timeout_s):
            raise BatchHeldError(
                f"run {holder['run_id']} (pid {holder['pid']} on {holder['host']}) holds this batch: {lease_uri}"
            )
        storage.delete(lease_uri)
        if not _create(spark, lease_uri, _lease(mine)):
            raise BatchHeldError(f"another run took this batch over at the same moment: {lease_uri}")
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(lease_uri, mine, timeout_s, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        storage.delete(lease_uri)


def _lease(mine: dict[str, Any]) -> bytes:
    return json.dumps({**mine, "heartbeat": time.time()}).encode()


def _create(spark: SparkSession, uri: str, content: bytes) -> bool:
    """Create the file unless it is there: Hadoop's exclusive create, which file: and hdfs: keep atomic."""
    jvm, context = spark._jvm, spark._jsc
    assert jvm is not None  # a session that runs has one
    path = jvm.org.apache.hadoop.fs.Path(uri)
    system = path.getFileSystem(context.hadoopConfiguration())
    try:
        stream = system.create(path, False)
    except Py4JJavaError as error:
        if "FileAlreadyExistsException" in str(error.java_exception) or system.exists(path):
            return False
        raise
    try:
        stream.write(bytearray(content))
    finally:
        stream.close()
    return True


def _read(uri: str) -> dict[str, Any] | None:
    try:
        found = json.loads(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _alive(holder: dict[str, Any], timeout_s: int) -> bool:
    if holder.get("host") == socket.gethostname():
        try:
            os.kill(int(holder["pid"]), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return time.time() - float(holder.get("heartbeat", 0)) < timeout_s


def _beat(uri: str, mine: dict[str, Any], timeout_s: int, done: threading.Event) -> None:
    while not done.wait(timeout_s / _BEATS_PER_TIMEOUT):
        storage.write_bytes(uri, _lease(mine))
