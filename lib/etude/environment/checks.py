"""What `etude doctor` looks at without starting anything: Python, packages, Java, Spark, Delta's jars.

Each check is given facts and judges them, so that tests can show it every fault.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etude.environment import delta, java, pins, sparkconf
from etude.environment.packages import damaged, inconsistent, installed

Status = Literal["ok", "note", "fault"]
AGAIN = "run `make setup` again"


@dataclass(frozen=True)
class Finding:
    """What was found about one part: whether it is right, what is there, and what to do where it isn't right.

    A `note` is worth knowing and nothing fails for it.
    """

    part: str
    status: Status
    found: str
    remedy: str = ""


def check_python(version: tuple[int, ...], prefix: Path, root: Path = pins.ROOT) -> Finding:
    """The Python that runs this very command."""
    text = f"{'.'.join(str(part) for part in version[:3])} in {prefix}"
    if tuple(version[:2]) != (3, 11):
        return Finding("Python", "fault", text, "Etude runs on Python 3.11: make setup PYTHON=/path/to/python3.11")
    if (root / "Makefile").exists() and prefix.resolve() != (root / ".venv").resolve():
        remedy = f"put {root / '.venv' / 'bin'} first in PATH"
        return Finding("Python", "note", text + ", which isn't the project's own environment", remedy)
    return Finding("Python", "ok", text)


def check_packages(
    have: Mapping[str, str], torn: Sequence[str] = (), lacking: Sequence[str] = (), root: Path = pins.ROOT
) -> Finding:
    """Installed versions against constraints.txt and against what packages require of one another.

    Args:
        have: normalised name -> version of what is installed.
        torn: names of packages that lack files.
        lacking: pip's complaints of packages that others require.
        root: the project's folder.
    """
    pinned = (root / "constraints.txt").exists()
    wrong = [*(pins.unmet(dict(have), root) if pinned else ()), *(f"{name} lacks files" for name in torn), *lacking]
    if wrong:
        return Finding("packages", "fault", "; ".join(wrong), AGAIN)
    if not pinned:
        return Finding("packages", "note", f"{len(have)} installed; no constraints.txt here to compare them with")
    return Finding("packages", "ok", f"{len(have)} installed, versions as in constraints.txt")


def spark_java_home(site_packages: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The JAVA_HOME that Spark's start scripts end up with; empty where they would take `java` from PATH.

    Asked of the very file those scripts read, SPARK_CONF_DIR or SPARK_HOME included where they lead elsewhere.
    """
    home = Path(environ.get("SPARK_HOME") or sparkconf.spark_home(site_packages))
    file = Path(environ.get("SPARK_CONF_DIR") or home / "conf", "spark-env.sh")
    script = 'if [ -f "$1" ]; then . "$1"; fi; printf %s "$JAVA_HOME"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(file)],
        env=dict(environ),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def check_java(home: str, environ: Mapping[str, str] = os.environ) -> Finding:
    """The Java that Spark would start."""
    binary = str(Path(home, "bin", "java")) if home else shutil.which("java", path=environ.get("PATH", ""))
    wanted = " or ".join(str(version) for version in java.VERSIONS)
    hint = f"{java.INSTALL_HINT}, or let the set-up bring one: {AGAIN}"
    if not binary:
        return Finding("Java", "fault", "none", hint)
    found = java.probe(binary, home or "PATH")
    if found is None:
        return Finding("Java", "fault", f"{binary} doesn't run, or lacks a module that Spark needs", hint)
    if found.feature not in java.VERSIONS:
        return Finding("Java", "fault", f"{found.version} in {found.home}; Spark needs {wanted}", hint)
    return Finding("Java", "ok", f"{found.version} in {found.home}")


def check_spark(version: str | None, site_packages: Path, environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether `spark-submit` is the environment's own Spark."""
    if version is None:
        return Finding("Spark", "fault", "pyspark is not installed", AGAIN)
    home = environ.get("SPARK_HOME")
    own = sparkconf.spark_home(site_packages)
    if home and Path(home).resolve() != own.resolve():
        return Finding("Spark", "fault", f"SPARK_HOME is {home}, the environment's Spark is {own}", "unset SPARK_HOME")
    submit = shutil.which("spark-submit", path=environ.get("PATH", ""))
    scripts = site_packages.parents[2] / "bin"
    if submit is None or Path(submit).resolve().parent != scripts.resolve():
        text = f"spark-submit in PATH is {submit}" if submit else "spark-submit isn't in PATH"
        return Finding("Spark", "fault", text, f"put {scripts} first in PATH")
    return Finding("Spark", "ok", f"{version}, {submit}")


def check_defaults(site_packages: Path, environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether Spark reads the project's spark-defaults.conf."""
    part = "Spark defaults"
    if environ.get("SPARK_CONF_DIR"):
        remedy = "unset SPARK_CONF_DIR, unless that folder is meant (jobs set Delta and Arrow themselves)"
        return Finding(part, "note", f"SPARK_CONF_DIR leads to {environ['SPARK_CONF_DIR']}", remedy)
    values = sparkconf.defaults(site_packages)
    if "DeltaSparkSessionExtension" not in values.get("spark.sql.extensions", ""):
        return Finding(part, "fault", "the environment's spark-defaults.conf is missing or lacks Delta", AGAIN)
    return Finding(part, "ok", f"{len(values)} settings, driver memory {values.get('spark.driver.memory', '1g')}")


def check_delta(version: str | None, site_packages: Path) -> Finding:
    """Delta's jars, their match with the Python package delta-spark, and with Spark's Scala."""
    part = "Delta"
    if version is None:
        return Finding(part, "fault", "delta-spark is not installed", AGAIN)
    wrong = delta.faults(site_packages)
    wrong += [f"{jar.file_name} beside delta-spark {version}" for jar in delta.JARS if jar.version != version]
    scala = sorted((sparkconf.spark_home(site_packages) / "jars").glob("scala-library-*.jar"))
    wrong += [f"jars for Scala 2.13 beside {file.name}" for file in scala if "-2.13." not in file.name]
    if wrong:
        return Finding(part, "fault", "; ".join(wrong), AGAIN)
    return Finding(part, "ok", f"{version}: {', '.join(jar.file_name for jar in delta.JARS)}")


def static_findings(site_packages: Path, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """All checks of this module on the running environment."""
    have = installed(site_packages)
    return [
        check_python(tuple(sys.version_info[:3]), Path(sys.prefix)),
        check_packages(have, damaged(site_packages), inconsistent(Path(sys.executable))),
        check_java(spark_java_home(site_packages, environ), environ),
        check_spark(have.get("pyspark"), site_packages, environ),
        check_defaults(site_packages, environ),
        check_delta(have.get("delta-spark"), site_packages),
    ]
