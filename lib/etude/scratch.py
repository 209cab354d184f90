"""Keep the temporary files of a program in one folder, and remove the folders of programs that were killed.

The name of a folder says whose it is: machine, process id and start of the process. So the next program of the same
user can tell which processes have ended, and removes nothing else.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from etude import machine

_NAME = re.compile(r"etude-run-([0-9a-f]{8})-(\d+)-(\d+)(?:-[0-9a-f]+)?")


def folder(below: str) -> Path:
    """Make this program's own folder below another; its end removes it. Those of dead programs are removed before."""
    return _folder(Path(below).resolve())


@functools.cache
def _folder(below: Path) -> Path:
    below.mkdir(parents=True, exist_ok=True)
    sweep(below)
    mine = below / _own_name()
    mine.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, mine, ignore_errors=True)
    return mine


@contextmanager
def passing(below: str) -> Iterator[Path]:
    """Make a folder below another while the body runs; those of dead programs are removed before."""
    sweep(Path(below))
    mine = Path(below) / f"{_own_name()}-{secrets.token_hex(4)}"
    mine.mkdir(mode=0o700)
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def _own_name() -> str:
    return f"etude-run-{_machine()}-{os.getpid()}-{machine.started(os.getpid())}"


def sweep(below: Path) -> None:
    """Remove the folders of this user's programs on this machine whose process has ended."""
    for found in below.glob("etude-run-*"):
        named = _NAME.fullmatch(found.name)
        if named is None or named[1] != _machine() or machine.runs(int(named[2]), int(named[3])):
            continue
        with suppress(FileNotFoundError):  # another program removes it at the same time
            status = found.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
                shutil.rmtree(found, ignore_errors=True)


def lasting() -> Path:
    """Return the temporary folder for files that later programs use too; TMPDIR may name a folder of this program."""
    now = Path(tempfile.gettempdir())
    return now.parent if _NAME.fullmatch(now.name) else now


def _machine() -> str:
    return hashlib.sha256(machine.identity().encode()).hexdigest()[:8]
