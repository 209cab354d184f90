"""Build Horovod's wheel once per Python, torch and platform, and keep it in build/wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from etude.doctor.pins import ROOT, constraints
from etude.doctor.toolchain import compiler
from tools.setup.errors import SetupError

# The imports of the built package, and the additional needs of its build; versions from constraints.txt.
RUN_NEEDS = ("cffi", "cloudpickle", "packaging", "psutil", "PyYAML")
BUILD_NEEDS = ("cmake", "setuptools")
_SWITCHES = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}


def python_tag() -> str:
    """Return the running Python's tag in wheel names, such as cp311."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def wheel_folder(root: Path = ROOT) -> Path:
    """Return the folder of the wheel for the pinned torch and this platform; the wheel's name has the Python's tag.

    Several machines may share the disk that holds a checkout. A build with HOROVOD_GPU_OPERATIONS, such as NCCL, has a
    folder of its own.
    """
    operations = os.environ.get("HOROVOD_GPU_OPERATIONS")
    name = f"torch-{constraints(root)['torch']}-{sysconfig.get_platform()}"
    return root / "build" / "wheels" / (f"{name}-{operations.lower()}" if operations else name)


def kept_wheel(root: Path = ROOT) -> Path | None:
    """Return the wheel built earlier for this Python, torch and platform; None if there is none."""
    version = constraints(root)["horovod"]
    return next(iter(sorted(wheel_folder(root).glob(f"horovod-{version}-{python_tag()}-*.whl"))), None)


def installed_for(site_packages: Path, root: Path = ROOT) -> bool:
    """Return whether the pinned Horovod is installed and built for the pinned torch, from its wheel's folder."""
    origin = site_packages / f"horovod-{constraints(root)['horovod']}.dist-info" / "direct_url.json"
    return origin.exists() and f"/{wheel_folder(root).name}/" in origin.read_text(encoding="utf-8")


def remove(site_packages: Path) -> None:
    """Uninstall Horovod, even if its list of files is missing, without which pip couldn't."""
    for folder in (site_packages / "horovod", *site_packages.glob("horovod-*.dist-info")):
        shutil.rmtree(folder, ignore_errors=True)


def build(python: Path, environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Path:
    """Build the wheel with an environment's Python, which needs torch, RUN_NEEDS and BUILD_NEEDS; return its path.

    Raises:
        SetupError: the build failed; the message names its log.
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
    kept = built.replace(folder / built.name)  # one step: an interrupted build leaves no partial wheel
    shutil.rmtree(work, ignore_errors=True)
    return kept


def _build_environment(python: Path, cxx: str, work: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the build's process environment; its compiler is a wrapper that adds -std=c++17 last.

    Horovod's sources ask for C++14, torch's headers need C++17.
    """
    wrapper = work / "c++17"
    wrapper.write_text(f'#!/bin/sh\nexec {cxx} "$@" -std=c++17\n', encoding="utf-8")
    wrapper.chmod(0o755)
    # cmake is a Python package: its command is beside the environment's Python.
    path = f"{python.parent}{os.pathsep}{environ.get('PATH', '')}"
    # Replace the flags of the `make` that runs the set-up. Without any, the build runs 8 jobs of 1 GB each.
    flags = f"-j{os.cpu_count() or 1}"
    return {**_SWITCHES, **environ, "CXX": str(wrapper), "PATH": path, "MAKEFLAGS": flags}
