"""Check installed parts without starting Spark: Python, packages, Java, Spark, Delta's jars.

Each check takes facts and judges them, so that tests can pass it every fault.
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

from etude.doctor import delta, java, pins, spark
from etude.doctor.packages import damaged, inconsistent, installed

Status = Literal["ok", "note", "fault"]
AGAIN = "remove .venv/etude-setup.json and run `make setup` again"  # with it, a set-up takes all for whole


@dataclass(frozen=True)
class Finding:
    """Hold the result of one check: the part, its status, the text of the finding, and the remedy of a fault or note.

    A `note` is information; it doesn't change the exit status.
    """

    part: str
    status: Status
    found: str
    remedy: str = ""


def check_python(version: tuple[int, ...], prefix: Path, root: Path = pins.ROOT) -> Finding:
    """Check the Python that runs this command."""
    text = f"{'.'.join(str(part) for part in version[:3])} in {prefix}"
    if tuple(version[:2]) != (3, 11):
        return Finding("Python", "fault", text, "Etude needs Python 3.11: make setup PYTHON=/path/to/python3.11")
    if (root / "Makefile").exists() and prefix.resolve() != (root / ".venv").resolve():
        remedy = f"put {root / '.venv' / 'bin'} first in PATH"
        return Finding("Python", "note", text + ", which isn't the project's environment", remedy)
    return Finding("Python", "ok", text)


def check_packages(
    have: Mapping[str, str], torn: Sequence[str] = (), lacking: Sequence[str] = (), root: Path = pins.ROOT
) -> Finding:
    """Check installed versions against constraints.txt and against the packages' requirements.

    Args:
        have: normalised name -> version of each installed distribution.
        torn: names of packages with missing files.
        lacking: pip's complaints about unmet requirements.
        root: the project's folder.
    """
    pinned = (root / "constraints.txt").exists()
    wrong = [*(pins.unmet(dict(have), root) if pinned else ()), *(f"{name} lacks files" for name in torn), *lacking]
    if wrong:
        return Finding("packages", "fault", "; ".join(wrong), AGAIN)
    if not pinned:
        return Finding("packages", "note", f"{len(have)} installed; no constraints.txt to compare them with")
    return Finding("packages", "ok", f"{len(have)} installed, versions as in constraints.txt")


def spark_java_home(site_packages: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return the JAVA_HOME that Spark's start scripts use; empty if they take `java` from PATH.

    Sources spark-env.sh as those scripts do, from SPARK_CONF_DIR or SPARK_HOME if they are set.
    """
    home = Path(environ.get("SPARK_HOME") or spark.spark_home(site_packages))
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
    """Check the Java that Spark would start."""
    binary = str(Path(home, "bin", "java")) if home else shutil.which("java", path=environ.get("PATH", ""))
    wanted = " or ".join(str(version) for version in java.VERSIONS)
    hint = f"{java.INSTALL_HINT}, or {AGAIN}, which installs a Java package"
    if not binary:
        return Finding("Java", "fault", "none found", hint)
    found = java.probe(binary, home or "PATH")
    if found is None:
        return Finding("Java", "fault", f"{binary} doesn't run, or lacks a module that Spark needs", hint)
    if found.feature not in java.VERSIONS:
        return Finding("Java", "fault", f"{found.version} in {found.home}; Spark needs {wanted}", hint)
    return Finding("Java", "ok", f"{found.version} in {found.home}")


def check_spark(version: str | None, site_packages: Path, environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that `spark-submit` is the environment's own."""
    if version is None:
        return Finding("Spark", "fault", "pyspark is not installed", AGAIN)
    home = environ.get("SPARK_HOME")
    own = spark.spark_home(site_packages)
    if home and Path(home).resolve() != own.resolve():
        return Finding("Spark", "fault", f"SPARK_HOME is {home}, the environment's Spark is {own}", "unset SPARK_HOME")
    submit = shutil.which("spark-submit", path=environ.get("PATH", ""))
    scripts = site_packages.parents[2] / "bin"
    if submit is None or Path(submit).resolve().parent != scripts.resolve():
        text = f"spark-submit in PATH is {submit}" if submit else "spark-submit isn't in PATH"
        return Finding("Spark", "fault", text, f"put {scripts} first in PATH")
    return Finding("Spark", "ok", f"{version}, {submit}")


def check_defaults(site_packages: Path, environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that Spark reads the project's spark-defaults.conf."""
    part = "Spark defaults"
    if environ.get("SPARK_CONF_DIR"):
        remedy = "unset SPARK_CONF_DIR, unless you want that folder (jobs set Delta and Arrow themselves)"
        return Finding(part, "note", f"SPARK_CONF_DIR is {environ['SPARK_CONF_DIR']}", remedy)
    values = spark.defaults(site_packages)
    if "DeltaSparkSessionExtension" not in values.get("spark.sql.extensions", ""):
        return Finding(part, "fault", "the environment's spark-defaults.conf is missing or doesn't set Delta", AGAIN)
    return Finding(part, "ok", f"{len(values)} settings, driver memory {values.get('spark.driver.memory', '1g')}")


def check_delta(version: str | None, site_packages: Path) -> Finding:
    """Check Delta's jars, and that they fit the Python package delta-spark and Spark's Scala version."""
    part = "Delta"
    if version is None:
        return Finding(part, "fault", "delta-spark is not installed", AGAIN)
    wrong = delta.faults(site_packages)
    wrong += [f"{jar.file_name} beside delta-spark {version}" for jar in delta.JARS if jar.version != version]
    scala = sorted((spark.spark_home(site_packages) / "jars").glob("scala-library-*.jar"))
    wrong += [f"jars for Scala 2.13 beside {file.name}" for file in scala if "-2.13." not in file.name]
    if wrong:
        return Finding(part, "fault", "; ".join(wrong), AGAIN)
    return Finding(part, "ok", f"{version}: {', '.join(jar.file_name for jar in delta.JARS)}")


def static_findings(site_packages: Path, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Run all checks of this module on the running environment."""
    have = installed(site_packages)
    return [
        check_python(tuple(sys.version_info[:3]), Path(sys.prefix)),
        check_packages(have, damaged(site_packages), inconsistent(Path(sys.executable))),
        check_java(spark_java_home(site_packages, environ), environ),
        check_spark(have.get("pyspark"), site_packages, environ),
        check_defaults(site_packages, environ),
        check_delta(have.get("delta-spark"), site_packages),
    ]
