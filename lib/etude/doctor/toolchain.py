"""Find the tools that build Horovod: a C++ compiler, make, Python's headers."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

INSTALL_HINT = (
    "Debian: apt-get install g++ make python3-dev; Fedora: dnf install gcc-c++ make python3-devel; "
    "macOS: xcode-select --install"
)


def lacking(environ: Mapping[str, str] = os.environ, include: str | None = None) -> str | None:
    """Name the first tool that this machine lacks to build Horovod, as words for a sentence.

    Args:
        environ: the process environment, for PATH and CXX.
        include: the folder of Python's headers; None means the running Python's.

    Returns:
        The tool's name, or None if nothing is lacking.
    """
    path = environ.get("PATH", "")
    if compiler(environ) is None:
        return "a C++ compiler"
    if not shutil.which("make", path=path):
        return "make"
    if not Path(include or sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers"
    return None


def compiler(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the C++ compiler: CXX if it is set, otherwise the first usual name in PATH; None if there is none."""
    path = environ.get("PATH", "")
    named = shlex.split(environ.get("CXX", ""))
    if named:
        return shlex.join(named) if shutil.which(named[0], path=path) else None
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name, path=path))), None)
