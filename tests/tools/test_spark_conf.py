"""Test the configuration folder of the environment's own Spark."""

import os
import subprocess
from pathlib import Path

import pytest

from etude.doctor.pins import ROOT
from etude.doctor.spark import defaults
from tools.setup import spark_conf


def sourced(text: str, tmp_path: Path, **environ: str) -> dict[str, str]:
    """Return JAVA_HOME and PYSPARK_PYTHON as a start script has them after it read spark-env.sh."""
    file = tmp_path / "spark-env.sh"
    file.write_text(text)
    script = f'. "{file}"; echo "${{JAVA_HOME-}}"; echo "$PYSPARK_PYTHON"'
    env = {"PATH": os.environ["PATH"], **environ}
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, env=env, check=True)
    java_home, python = done.stdout.splitlines()
    return {"JAVA_HOME": java_home, "PYSPARK_PYTHON": python}


def java_in(home: Path) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(0o755)
    return home


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return java_in(tmp_path / "found")


@pytest.fixture
def text(found: Path) -> str:
    return spark_conf.spark_env(Path("/env/bin/python"), found)


def test_without_settings_the_setups_java_and_python_are_used(text: str, tmp_path: Path, found: Path) -> None:
    assert sourced(text, tmp_path) == {"JAVA_HOME": str(found), "PYSPARK_PYTHON": "/env/bin/python"}


def test_a_java_whose_folder_an_update_has_renamed_leaves_the_choice_to_path(
    text: str, tmp_path: Path, found: Path
) -> None:
    found.rename(tmp_path / "found-17.0.99")
    assert sourced(text, tmp_path)["JAVA_HOME"] == ""


@pytest.mark.parametrize(
    ("version", "kept"),
    [("17.0.1", True), ("21", True), ("1.8.0", False), ("11.0.2", False), ("170.1", False), ("210.1", False)],
)
def test_a_java_home_that_fits_is_kept_and_another_is_not(
    text: str, tmp_path: Path, found: Path, version: str, kept: bool
) -> None:
    own = java_in(tmp_path / "own")
    (own / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    assert sourced(text, tmp_path, JAVA_HOME=str(own))["JAVA_HOME"] == str(own if kept else found)


def test_a_python_that_was_chosen_is_kept(text: str, tmp_path: Path) -> None:
    assert sourced(text, tmp_path, PYSPARK_PYTHON="/their/python")["PYSPARK_PYTHON"] == "/their/python"


def test_the_folder_is_written_and_read_back(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "pyspark").mkdir(parents=True)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    assert defaults(site) == {}
    for _ in range(2):  # at the second time everything exists
        spark_conf.write(site, python, Path("/found/java"))
    assert "JAVA_HOME='/found/java'" in (site / "pyspark" / "conf" / "spark-env.sh").read_text()
    names = sorted(file.name for file in (site / "pyspark" / "conf").iterdir())
    assert names == ["log4j2.properties", "spark-defaults.conf", "spark-env.sh"]
    values = defaults(site)
    assert values["spark.sql.catalog.spark_catalog"] == "org.apache.spark.sql.delta.catalog.DeltaCatalog"
    assert values["spark.driver.memory"] == "2g"


def test_sparks_scripts_find_their_home_whatever_the_path_holds(tmp_path: Path) -> None:
    script = tmp_path / "find-spark-home"
    script.write_text(spark_conf.find_spark_home(Path("/env/pyspark")))
    for environ, expected in (({}, "/env/pyspark"), ({"SPARK_HOME": "/theirs"}, "/theirs")):
        command = ["/bin/bash", "-c", f'source {script}; printf %s "$SPARK_HOME"']
        done = subprocess.run(command, env={"PATH": "/nowhere", **environ}, capture_output=True, text=True)
        assert done.stdout == expected


def test_every_group_of_defaults_says_why() -> None:
    blocks = (ROOT / "conf" / "spark-defaults.conf").read_text().strip().split("\n\n")
    assert [block for block in blocks if not block.startswith("#")] == []
