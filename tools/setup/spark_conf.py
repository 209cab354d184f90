"""Write the configuration that `spark-submit jobs/x.py` finds in the environment's own Spark."""

from __future__ import annotations

from pathlib import Path

from etude.doctor.java import VERSIONS
from etude.doctor.pins import ROOT
from etude.doctor.spark import spark_home

LINKED = ("spark-defaults.conf", "log4j2.properties")


def write(site_packages: Path, python: Path, java_home: Path, root: Path = ROOT) -> None:
    """Link the project's Spark defaults, and write spark-env.sh and find-spark-home.

    Each file is replaced in one step, so that a starting job reads the old or the new one.
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
    """Return the text of spark-env.sh, which every Spark start script reads.

    It sets JAVA_HOME unless the user's Java fits, and PYSPARK_PYTHON unless the user set it.
    """
    fitting = "|".join(str(version) for version in VERSIONS)
    return f"""# Written by `make setup`. Keeps your JAVA_HOME if its Java fits Spark, and your PYSPARK_PYTHON.
case "$(sed -n 's/^JAVA_VERSION="\\([0-9]*\\).*/\\1/p' "${{JAVA_HOME:-/nowhere}}/release" 2>/dev/null)" in
  {fitting}) ;;
  *) JAVA_HOME='{java_home}' ;;
esac
[ -x "$JAVA_HOME/bin/java" ] || unset JAVA_HOME  # updated since: Spark takes the java in PATH
PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"
"""


def find_spark_home(home: Path) -> str:
    """Return the text of find-spark-home, which `spark-submit` and similar scripts read if SPARK_HOME isn't set."""
    return f"""#!/usr/bin/env bash
# Written by `make setup`. Spark's own version asks the first python3 in PATH, which in a crontab is another Python.
export SPARK_HOME="${{SPARK_HOME:-{home}}}"
"""


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
