"""Check what surrounds the installation and fails before any job code runs: Python named to Spark, host name, locale.

Each check takes facts and judges them, so that tests can pass it every fault.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from etude.doctor.checks import Finding

_VARIABLES = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
_SHADOWED = ("pyspark", "py4j", "numpy", "pandas", "pyarrow")
_ASK = "import sys; print(*sys.version_info[:2], sep='.'); print(sys.prefix)"


def check_named_python(environ: Mapping[str, str] = os.environ, prefix: str = sys.prefix) -> Finding:
    """Check the Pythons that the environment names to Spark, which start the driver and the workers."""
    part = "Python of Spark"
    named = {name: environ[name] for name in _VARIABLES if environ.get(name)}
    for name, path in named.items():
        remedy = f"unset {name}, or set it to the Python of an environment made by `make setup`"
        if path.startswith("./"):
            return Finding(part, "note", f"{name}={path}, which only executors with an unpacked archive have", remedy)
        binary = shutil.which(path, path=environ.get("PATH", ""))
        if binary is None:
            return Finding(part, "fault", f"{name}={path}: no such program", remedy)
        done = subprocess.run([binary, "-c", _ASK], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        version, _, where = done.stdout.strip().partition("\n")
        if done.returncode or version != "3.11":
            return Finding(part, "fault", f"{name}={path}: {version or 'no Python'}; Etude needs 3.11", remedy)
        if where != prefix and name == "PYSPARK_DRIVER_PYTHON":
            return Finding(part, "fault", f"{name}={path}, which lacks Etude: each job is started by it", remedy)
        if where != prefix:
            return Finding(part, "note", f"{name}={path}, which isn't this environment's Python", remedy)
    return Finding(part, "ok", " ".join(f"{name}={path}" for name, path in named.items()) or "this one")


def check_shadows(folder: str | None = None, find: Callable[[str], Any] = find_spec) -> Finding:
    """Check that packages come from this environment, not from a folder of PYTHONPATH, as of another Spark."""
    part, folder = "PYTHONPATH", folder or sysconfig.get_paths()["purelib"]
    for name in _SHADOWED:
        spec = find(name)
        if spec is not None and spec.origin and not spec.origin.startswith(folder):
            return Finding(part, "fault", f"{name} comes from {spec.origin}, not from {folder}", "unset PYTHONPATH")
    return Finding(part, "ok", "packages are this environment's")


def check_conf(environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that Spark reads this environment's configuration: Delta, memory, Java."""
    folder = environ.get("SPARK_CONF_DIR")
    if not folder:
        return Finding("Spark's conf", "ok", "this environment's")
    text = f"SPARK_CONF_DIR={folder}: Spark reads its configuration there, and none of Etude's"
    return Finding("Spark's conf", "note", text, "unset SPARK_CONF_DIR, or take conf/spark-defaults.conf over")


def check_host(name: str | None = None, environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that the machine's own name has an address: Spark looks it up before it starts, and fails without one."""
    part, name = "host name", name or socket.gethostname()
    if environ.get("SPARK_LOCAL_IP"):
        return Finding(part, "ok", f"{name}, SPARK_LOCAL_IP={environ['SPARK_LOCAL_IP']}")
    try:
        return Finding(part, "ok", f"{name}, {socket.gethostbyname(name)}")
    except OSError as error:
        remedy = f"add the line `127.0.0.1 {name}` to /etc/hosts, or set SPARK_LOCAL_IP=127.0.0.1 for a local master"
        return Finding(part, "fault", f"{name} has no address ({error}), and Spark can't start", remedy)


def check_locale(environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that the locale can express names beyond ASCII, as paths and settings may hold them."""
    part = "locale"
    found = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "C")
    if found.partition(".")[2].replace("-", "").lower() == "utf8":
        return Finding(part, "ok", found)
    text = f"{found}: in it, Java can't open files whose names have characters beyond ASCII"
    return Finding(part, "note", text, "set LC_ALL=C.UTF-8 where jobs run, cron included")


def surroundings() -> list[Finding]:
    """Run all checks of this module."""
    return [check_named_python(), check_shadows(), check_conf(), check_host(), check_locale()]
