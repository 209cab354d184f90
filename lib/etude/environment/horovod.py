"""Horovod's wheel, built once for each Python, torch and platform, and kept in build/wheels."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from etude.environment.pins import ROOT, SetupError, constraints, python_tag

# What the built package imports, and what building it takes besides; versions from constraints.txt.
RUN_NEEDS = ("cffi", "cloudpickle", "packaging", "psutil", "PyYAML")
BUILD_NEEDS = ("cmake", "setuptools")
INSTALL_HINT = (
    "Debian: apt-get install g++ make python3-dev; Fedora: dnf install gcc-c++ make python3-devel; "
    "macOS: xcode-select --install"
)
_SWITCHES = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}


def lacking(environ: Mapping[str, str] = os.environ, include: str | None = None) -> str | None:
    """What this machine lacks to build Horovod, as words for a sentence; None where nothing is lacking."""
    path = environ.get("PATH", "")
    if compiler(environ) is None:
        return "a C++ compiler"
    if not shutil.which("make", path=path):
        return "make"
    if not Path(include or sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers"
    return None


def compiler(environ: Mapping[str, str] = os.environ) -> str | None:
    """The C++ compiler to use: CXX, else the first of the usual names in PATH."""
    path = environ.get("PATH", "")
    named = shlex.split(environ.get("CXX", ""))
    if named:
        return shlex.join(named) if shutil.which(named[0], path=path) else None
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name, path=path))), None)


def wheel_folder(root: Path = ROOT) -> Path:
    """Where the wheel for the pinned torch and this platform is kept; the wheel's own name tells the Python.

    A checkout may lie on a disk that several machines share.
    """
    return root / "build" / "wheels" / f"torch-{constraints(root)['torch']}-{sysconfig.get_platform()}"


def kept_wheel(root: Path = ROOT) -> Path | None:
    """The wheel built earlier for this Python, torch and platform, if any."""
    version = constraints(root)["horovod"]
    return next(iter(sorted(wheel_folder(root).glob(f"horovod-{version}-{python_tag()}-*.whl"))), None)


def installed_for(site_packages: Path, root: Path = ROOT) -> bool:
    """Whether the pinned Horovod is installed and was built for the pinned torch (its wheel's folder tells)."""
    origin = site_packages / f"horovod-{constraints(root)['horovod']}.dist-info" / "direct_url.json"
    return origin.exists() and f"/{wheel_folder(root).name}/" in origin.read_text(encoding="utf-8")


def remove(site_packages: Path) -> None:
    """Uninstall it, however little of it is left: without its list of files pip couldn't."""
    for folder in (site_packages / "horovod", *site_packages.glob("horovod-*.dist-info")):
        shutil.rmtree(folder, ignore_errors=True)


def build(python: Path, environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Path:
    """Build the wheel with an environment's Python, in which torch, RUN_NEEDS and BUILD_NEEDS are installed.

    Raises:
        SetupError: the build failed; its log is named.
    """
    folder, log = wheel_folder(root), root / "build" / "log" / "horovod.log"
    work = root / "build" / "tmp" / "horovod"
    shutil.rmtree(work, ignore_errors=True)
    for needed in (folder, log.parent, work):
        needed.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    command += ["--no-binary", "horovod", "--wheel-dir", str(work), f"horovod=={constraints(root)['horovod']}"]
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            command,
            env=_build_environment(python, compiler(environ) or "c++", work, environ),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode != 0:
        raise SetupError(f"Horovod couldn't be built (log: {log})")
    built = next(work.glob("horovod-*.whl"))
    kept = built.replace(folder / built.name)  # one step: an interrupted build leaves no half wheel
    shutil.rmtree(work, ignore_errors=True)
    return kept


def _build_environment(python: Path, cxx: str, work: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Horovod's sources ask for C++14, torch's headers need 17: a compiler that adds the flag last settles it."""
    wrapper = work / "c++17"
    wrapper.write_text(f'#!/bin/sh\nexec {cxx} "$@" -std=c++17\n', encoding="utf-8")
    wrapper.chmod(0o755)
    # cmake is a Python package here: its command lies beside the environment's Python.
    path = f"{python.parent}{os.pathsep}{environ.get('PATH', '')}"
    # The flags of the `make` that runs the set-up are none of its business; with none, it takes 8 jobs of 1 GB each.
    flags = f"-j{os.cpu_count() or 1}"
    return {**_SWITCHES, **environ, "CXX": str(wrapper), "PATH": path, "MAKEFLAGS": flags}
