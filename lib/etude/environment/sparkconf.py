"""The configuration folder of the environment's own Spark: what a plain `spark-submit jobs/x.py` finds there."""

from __future__ import annotations

from pathlib import Path

from etude.environment.java import VERSIONS
from etude.environment.pins import ROOT

LINKED = ("spark-defaults.conf", "log4j2.properties")


def spark_home(site_packages: Path) -> Path:
    """SPARK_HOME of the pip-installed Spark."""
    return site_packages / "pyspark"


def write(site_packages: Path, python: Path, java_home: Path, root: Path = ROOT) -> None:
    """Link the project's Spark defaults, and write spark-env.sh and find-spark-home.

    Each file comes in one step, so that a job that is just starting sees the old one or the new one.
    """
    folder = spark_home(site_packages) / "conf"
    folder.mkdir(exist_ok=True)
    for name in LINKED:
        _replace(folder / name, root / "conf" / name)
    _write(folder / "spark-env.sh", spark_env(python, java_home))
    script = python.parent / "find-spark-home"
    _write(script, find_spark_home(spark_home(site_packages)))
    script.chmod(0o755)


def spark_env(python: Path, java_home: Path) -> str:
    """The text of spark-env.sh, which every Spark start script reads: Java and Python, where the user's don't fit."""
    fitting = "|".join(str(version) for version in VERSIONS)
    return f"""# Written by `make setup`. A JAVA_HOME of yours is kept where its Java fits Spark; so is PYSPARK_PYTHON.
case "$(sed -n 's/^JAVA_VERSION="\\([0-9]*\\).*/\\1/p' "${{JAVA_HOME:-/nowhere}}/release" 2>/dev/null)" in
  {fitting}) ;;
  *) JAVA_HOME='{java_home}' ;;
esac
PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"
"""


def find_spark_home(home: Path) -> str:
    """The text of find-spark-home, which `spark-submit` and its like read when SPARK_HOME isn't set."""
    return f"""#!/usr/bin/env bash
# Written by `make setup`. Spark's own version asks the first python3 of PATH, which in a crontab isn't this one's.
export SPARK_HOME="${{SPARK_HOME:-{home}}}"
"""


def defaults(site_packages: Path) -> dict[str, str]:
    """The settings of the environment's spark-defaults.conf; empty where there is none."""
    file = spark_home(site_packages) / "conf" / "spark-defaults.conf"
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _write(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def _replace(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    new = link.with_name(link.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
