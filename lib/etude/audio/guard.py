"""Control the decoding process from the worker: send it one file at a time, kill it at the time limit, replace it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from etude.audio.child import LENGTH, Limits, configuration, frame
from etude.audio.decode import Source
from etude.audio.fallback import scratch_prefix
from etude.audio.features import Outcome, Refusal, Spectrogram
from etude.audio.recipe import Recipe

_START_S = 120.0
_CHUNK = 1 << 18

# The decoding process gets only these variables, so that a compromised decoder finds no credentials.
_PASSED_ON = ("PATH", "HOME", "LANG")
_PASSED_ON_PREFIXES = ("LC_", "LD_", "DYLD_", "OPENBLAS_", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Guard:
    """Control one decoding process, started on first use and restarted after it ends; not thread-safe."""

    def __init__(self, recipe: Recipe, limits: Limits):
        """Set the recipe and limits of every process that this guard starts."""
        self.recipe = recipe
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = bytearray()

    @property
    def pid(self) -> int | None:
        """Return the process id of the decoding process, or None if there is none."""
        return self._process.pid if self._process else None

    def spectrograms(self, source: Source, track_id: str, crops: Sequence[int]) -> list[Outcome]:
        """Run features.spectrograms in the process; a file that hangs or kills its decoder gives refusals.

        Raises:
            RuntimeError: the decoding process doesn't start (for example, a library is missing).
        """
        head: dict[str, Any] = {"track_id": track_id, "crops": list(crops)}
        data = b"" if isinstance(source, str) else bytes(source)
        if isinstance(source, str):
            head["path"] = source
        request = frame(head, data)
        try:
            self._ensure_started()
            answer, payload = self._ask(request)
        except TimeoutError:
            self.close()
            return _all_refused(crops, "timeout", f"decoding took more than {self.limits.time_limit_s:g} s")
        except EOFError:
            return _all_refused(crops, "crashed", f"the decoder ended with {self._cause_of_death()}")
        return _outcomes(answer["outcomes"], payload)

    def close(self) -> None:
        """Kill the process and its children, and remove its temporary folders."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for leftover in Path(tempfile.gettempdir()).glob(f"{scratch_prefix(self._process.pid)}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()
        self._process, self._stderr = None, None
        self._buffer.clear()

    def _ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        deadline = time.monotonic() + self.limits.time_limit_s
        self._send(request, deadline)
        head = json.loads(self._receive(LENGTH.unpack(self._receive(LENGTH.size, deadline))[0], deadline))
        return head, self._receive(head["bytes"], deadline)

    def _ensure_started(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended between two files, so no file is refused
        if self._process is not None:
            return
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        # Start a program instead of a fork: this process may hold threads and Spark's sockets.
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from etude.audio.child import main; main()"),
                configuration(self.recipe, self.limits),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=_environment(),
            start_new_session=True,
        )
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        try:
            deadline = time.monotonic() + _START_S
            self._receive(LENGTH.unpack(self._receive(LENGTH.size, deadline))[0], deadline)
        except (EOFError, TimeoutError) as error:
            self._stderr.seek(0)
            said = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
            self.close()
            cause = said[-1] if said else "it printed no error"
            raise RuntimeError(f"the decoding process doesn't start: {cause}") from error

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        left = memoryview(data)
        while left:
            _wait(descriptor, select.POLLOUT, deadline)
            try:
                left = left[os.write(descriptor, left) :]
            except BrokenPipeError as error:
                raise EOFError from error

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while len(self._buffer) < size:
            _wait(descriptor, select.POLLIN, deadline)
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        wanted = bytes(self._buffer[:size])
        del self._buffer[:size]
        return wanted

    def _cause_of_death(self) -> str:
        assert self._process is not None
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        code = process.returncode
        self.close()
        if code is None:
            return "its output closed"
        return signal.Signals(-code).name if code < 0 else f"status {code}"


_shared: list[tuple[int, Guard]] = []


def shared_guard(recipe: Recipe, limits: Limits) -> Guard:
    """Return this worker process's guard: reuse it for tasks with the same settings, otherwise start a new one."""
    if _shared:
        owner, guard = _shared[0]
        if (owner, guard.recipe, guard.limits) == (os.getpid(), recipe, limits):
            return guard
        _shared.clear()
        if owner == os.getpid():
            guard.close()
    _shared.append((os.getpid(), Guard(recipe, limits)))
    return _shared[0][1]


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)  # noqa: PTH100 (zips as well)
    return {**kept, **_ONE_THREAD, "PYTHONPATH": path, "TMPDIR": tempfile.gettempdir()}


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _all_refused(crops: Sequence[int], reason: str, detail: str) -> list[Outcome]:
    return [Refusal(crop, reason, detail) for crop in crops]


def _outcomes(told: list[dict[str, Any]], payload: bytes) -> list[Outcome]:
    outcomes: list[Outcome] = []
    start = 0
    for item in told:
        if "reason" in item:
            outcomes.append(Refusal(item["crop"], item["reason"], item["detail"]))
            continue
        rows, columns = item["shape"]
        mel = np.frombuffer(payload, np.float32, rows * columns, start).reshape(rows, columns)
        start += mel.nbytes
        outcomes.append(Spectrogram(item["crop"], mel, item["at"], item["of"], item["sha256"]))
    return outcomes
