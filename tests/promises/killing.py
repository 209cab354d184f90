"""Start a job by spark-submit and kill all of its processes by SIGKILL when its lake has reached a state."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from etude import storage
from etude.lake import Lake, folders, ledger
from etude.lake.runs import Run

PAUSE = Path(__file__).parent / "pause"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """Hold a job of a lake of its own, and what its kill leaves and must come before."""

    name: str
    root: Path
    arguments: list[str]
    run_id: str
    lease: str
    too_late: Callable[[Lake], bool]
    """Whether the job went on before the kill."""
    reached: Callable[[Lake], bool] | None = None
    """Whether the job is to be killed now; None if it has `pause`."""
    resume: tuple[str, ...] = ()
    """What the second command has besides the first one's arguments."""
    pause: str = ""
    """module:function of the library at which the job stops; see pause/sitecustomize.py."""
    left: Path = field(init=False)
    """A copy of the lake as the kill left it."""

    def __post_init__(self):
        object.__setattr__(self, "left", self.root.with_name("killed"))

    @property
    def paused(self) -> Path:
        """The file that tells that the job has stopped at `pause`."""
        return self.root.with_name("paused")

    def row(self, root: Path) -> Run:
        """Return the job's entry in the ledger of its lake, or of the copy."""
        found = ledger.find(Lake(str(root)), self.name, self.run_id)
        assert found is not None
        return found

    def told(self, root: Path) -> dict:
        """Return the content of the job's status file."""
        return json.loads(storage.read_bytes(folders.status(str(root), self.run_id, self.name)))

    def lease_file(self, root: Path) -> Path:
        return root / "_leases" / self.lease

    def kill(self, submit_command: Callable[..., list[str]], environment: Mapping[str, str]) -> None:
        """Start the job, kill it when the lake is as `reached` says, and keep a copy of the lake.

        A job may pass the place within milliseconds. If the kill came too late, it starts again in the same lake.
        """
        before = self.root.with_name("before")
        shutil.copytree(self.root, before)
        for _ in range(_ATTEMPTS):
            self._kill_once(submit_command, environment)
            if not self.too_late(Lake(str(self.root))):
                shutil.copytree(self.root, self.left)
                return
            shutil.rmtree(self.root)
            shutil.copytree(before, self.root)
        raise AssertionError(f"{_ATTEMPTS} kills came too late to test anything")

    def _kill_once(self, submit_command: Callable[..., list[str]], environment: Mapping[str, str]) -> None:
        log, env, lake = self.root.with_name("killed.log"), {**os.environ, **environment}, Lake(str(self.root))
        if self.pause:
            env["ETUDE_TEST_PAUSE"] = f"{self.pause}:{self.paused}"
            env["PYTHONPATH"] = f"{PAUSE}{os.pathsep}{env.get('PYTHONPATH', '')}"
        command = submit_command(self.name, *self.arguments)
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        try:
            limit = time.monotonic() + 300
            while not (self.reached(lake) if self.reached else self.paused.exists()):
                assert process.poll() is None, f"the job ended before it was killed:\n{log.read_text()[-3000:]}"
                assert time.monotonic() < limit, f"the job did not get there:\n{log.read_text()[-3000:]}"
                time.sleep(0.005)
        finally:
            _kill(process)


def _kill(process: subprocess.Popen) -> None:
    """Kill spark-submit's group (Java, the driver), then its session: Python workers have their own groups."""
    session = [each.pid for each in psutil.process_iter() if _session_of(each.pid) == process.pid]
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in session:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(30)
    limit = time.monotonic() + 30
    while any(map(runs, session)):
        assert time.monotonic() < limit
        time.sleep(0.02)


def _session_of(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def runs(pid: int) -> bool:
    """Tell if a process runs; a zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
