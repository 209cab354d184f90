"""Load the kernels with machine code that is cached between processes.

Executors import Etude from the archive of the job, whose path is new in every application. Numba caches by path, so
every Python worker would compile anew (3 s). Therefore the kernels' source is written into a private folder, once per
host and version of the source, and loaded from there; numba keeps the machine code beside it. Without such a folder
each process compiles the kernels itself.
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

from etude import scratch


@cache
def kernels() -> ModuleType:
    """Return the module etude.factors.kernels, loaded from the folder of cached machine code if there is one."""
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
    """Return a folder that only this user can write, because cached machine code is executed; None without one."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or scratch.lasting() / f"etude-kernels-{os.getuid()}")
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
