"""Let one run at a time work on something: a lease file, taken by an exclusive create, and a file of heartbeats.

A run writes its own file of heartbeats, and the lease only when it takes it. So one that stalls, and wakes when another
run has the lease, overwrites nothing of that run's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from etude import machine, storage
from etude.errors import LeaseTakenError

_BEATS_PER_TIMEOUT = 6
_log = logging.getLogger("etude")


@contextmanager
def leased(
    spark: SparkSession | None, uri: str, run_id: str, timeout_s: int, wait_s: float = 0.0
) -> Iterator[Callable[[], None]]:
    """Keep a lease while the body runs; gives a function that raises if another run has taken it over.

    A lease whose process is dead (same machine) or whose heartbeat is older than `timeout_s` is taken over. One that
    can't be read may just be being written: it counts as alive until the file is that old.

    Args:
        spark: the session; None if the lease lies in a local folder.
        uri: the lease file.
        run_id: who takes it, for the messages of others.
        timeout_s: seconds without a heartbeat after which a lease counts as dead.
        wait_s: seconds to wait for a lease that another run has.

    Raises:
        LeaseTakenError: another living run has the lease, or has taken it over.
    """
    lease = _Lease(spark, uri, run_id, timeout_s)
    waiting = Retrying(
        retry=retry_if_exception_type(LeaseTakenError),
        stop=stop_after_delay(wait_s),
        wait=wait_random(0.1, 0.5),
        reraise=True,
    )
    waiting(lease.take)
    done = threading.Event()
    beat = threading.Thread(target=lease.keep, args=(done,), name="lease", daemon=True)
    beat.start()
    try:
        yield lease.check
    finally:
        done.set()
        beat.join()
        lease.release()


def is_held_by(uri: str, run_id: str, timeout_s: int) -> bool:
    """Tell if a run has a lease and may be at work: its process isn't known to be dead, and its heart beats."""
    found = _look(uri)
    return found is not None and found.holder.get("run_id") == run_id and found.alive(timeout_s)


class _Lease:
    def __init__(self, spark: SparkSession | None, uri: str, run_id: str, timeout_s: int):
        self.spark, self.uri, self.timeout_s = spark, uri, timeout_s
        self.mine = {
            "run_id": run_id,
            "host": socket.gethostname(),
            "machine": machine.identity(),
            "pid": os.getpid(),
            "token": secrets.token_hex(8),
        }
        self.beats = f"{uri}.{self.mine['token']}"
        self.lost = False

    def take(self) -> None:
        if _create(self.spark, self.uri, self._content()):
            return
        found = _look(self.uri)
        if found is None or found.alive(self.timeout_s):
            raise LeaseTakenError(f"{found or 'another run'} has the lease {self.uri}: wait until it ends")
        self._take_over(found)

    def _take_over(self, stale: _Found) -> None:
        """Put this lease in a dead one's place.

        Of several runs that find the dead one, the claim lets one through at a time; who comes later finds another
        lease in its place. A claim is there for moments only, so an old one was left by a run that was killed there.
        """
        claim = f"{self.uri}.claim"
        left = _look(claim)
        if left is not None and left.age_s() >= self.timeout_s:
            storage.delete(claim)
        if not _create(self.spark, claim, self._content()):
            raise LeaseTakenError(f"another run is taking over the lease {self.uri}")
        try:
            now = _look(self.uri)
            if now is None or now.digest != stale.digest:
                raise LeaseTakenError(f"another run took over the lease {self.uri} at the same moment")
            storage.write_bytes(self.uri, self._content())
            storage.delete(stale.beats)
        finally:
            storage.delete(claim)

    def keep(self, done: threading.Event) -> None:
        """Beat until `done`."""
        while not done.wait(self.timeout_s / _BEATS_PER_TIMEOUT) and not self.lost:
            self._try_to_beat()

    def _try_to_beat(self) -> None:
        """A beat that fails is left to the next: there are several before the lease goes stale."""
        try:
            self._beat()
        except Exception as error:
            _log.warning("lease=%s beat failed, tried again later: %s", self.uri, type(error).__name__)

    def _beat(self) -> None:
        found = _look(self.uri)
        if found is not None and self._is_mine(found):
            storage.write_bytes(self.beats, str(time.time()).encode())
        else:  # one that is gone belonged to a run that took it over and has ended
            self.lost = True
            _log.error("lease=%s was taken over by %s while this run was silent", self.uri, found or "another run")

    def check(self) -> None:
        found = _look(self.uri)
        if self.lost or found is None or not self._is_mine(found):
            self.lost = True
            raise LeaseTakenError(
                f"{found or 'another run, which has ended,'} has taken over the lease {self.uri} while this run was "
                "silent; expected this run to hold it: run it again"
            )

    def release(self) -> None:
        """Remove the lease if it is this run's; one that can't be removed now goes stale by itself."""
        with suppress(OSError):
            found = _look(self.uri)
            if found is not None and self._is_mine(found):
                storage.delete(self.uri)
            storage.delete(self.beats)

    def _is_mine(self, found: _Found) -> bool:
        return found.holder.get("token") == self.mine["token"]

    def _content(self) -> bytes:
        return json.dumps(self.mine).encode()


class _Found:
    """A lease as it lies there."""

    def __init__(self, content: bytes, uri: str):
        self.digest = hashlib.sha256(content).hexdigest()
        self.uri = uri
        self.holder: dict[str, Any] = {}
        with suppress(ValueError):
            loaded = json.loads(content)
            self.holder = loaded if isinstance(loaded, dict) else {}

    def alive(self, timeout_s: int) -> bool:
        """Whether its run may be at work. Names of hosts repeat, so a pid means something on one machine only."""
        if self.holder.get("machine") == machine.identity() and not machine.runs(int(self.holder["pid"])):
            return False
        return self.age_s() < timeout_s

    @property
    def beats(self) -> str:
        """Its run's file of heartbeats."""
        return f"{self.uri}.{self.holder.get('token')}"

    def age_s(self) -> float:
        """Return the seconds since the last heartbeat, or without one since the lease was written; 0 if it is gone."""
        for uri in (self.beats, self.uri):
            with suppress(FileNotFoundError):
                return storage.age_s(uri)
        return 0.0

    def __str__(self) -> str:
        if not self.holder:
            return "another run"
        return f"run {self.holder.get('run_id')} (pid {self.holder.get('pid')} on {self.holder.get('host')})"


def _look(uri: str) -> _Found | None:
    """The lease, or None where there is none."""
    try:
        return _Found(storage.read_bytes(uri), uri)
    except FileNotFoundError:
        return None


def _create(spark: SparkSession | None, uri: str, content: bytes) -> bool:
    """Create the file unless it is there.

    Elsewhere by Hadoop's exclusive create, which hdfs: keeps atomic; for file: it isn't (it looks, then truncates).
    """
    if uri.startswith("file:"):
        return storage.create_local(uri, content)
    assert spark is not None and spark._jvm is not None  # only a local lake is written without a session
    jvm, context = spark._jvm, spark._jsc
    path = jvm.org.apache.hadoop.fs.Path(storage.for_spark(uri))
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
