"""The kernels with their machine code kept between processes.

Executors import Etude from the archive shipped with the job, whose path is new in every application, so numba would
find nothing it kept and every Python worker would compile anew (3 s). Therefore the kernels' source is written, once
per host and version of the source, into a private folder, loaded from there, and its machine code lies beside it. Where
no such folder can be had, the kernels work all the same, compiled by each process for itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pkgutil
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """The module etude.factors.kernels, from the folder of kept machine code if there is one."""
    source = pkgutil.get_data("etude.factors", "kernels.py")
    folder = _private_folder()
    if source is None or folder is None:
        return _plain()
    name = f"etude_kernels_{hashlib.sha256(source).hexdigest()[:16]}"
    try:
        file = _kept_source(folder, name, source)
    except OSError:
        return _plain()
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _plain() -> ModuleType:
    from etude.factors import kernels as plain

    return plain


def _private_folder() -> Path | None:
    """A folder that only this user can write: kept machine code is run, so nobody else may put any there."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(tempfile.gettempdir()) / f"etude-kernels-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if ours else None


def _kept_source(folder: Path, name: str, source: bytes) -> Path:
    file = folder / f"{name}.py"
    if not file.exists() or file.read_bytes() != source:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as fresh:
            fresh.write(source)
        Path(fresh.name).replace(file)
    return file
