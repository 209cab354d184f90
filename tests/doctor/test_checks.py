"""Test the checks that don't start Spark: each fault is recognised and has a remedy."""

import shutil
from pathlib import Path

import pytest

from etude.doctor import checks, delta, pins
from java_stub import fake_java
from tools.setup import spark_conf

HERE = "/usr/bin:/bin"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a site-packages folder with a Spark, its scripts, and the project's configuration."""
    site = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    (site / "pyspark" / "jars").mkdir(parents=True)
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir()
    (scripts / "spark-submit").write_text("#!/bin/sh\n")
    (scripts / "spark-submit").chmod(0o755)
    spark_conf.write(site, scripts / "python", fake_java(tmp_path / "java", "17.0.9"))
    return site


def test_python_of_another_version_is_a_fault_and_another_environment_a_note(assert_fault, tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    own = tmp_path / ".venv"
    assert checks.check_python((3, 11, 7), own, tmp_path).status == "ok"
    assert_fault(checks.check_python((3, 9, 1), own, tmp_path), "3.9.1", "PYTHON=")
    note = checks.check_python((3, 11, 7), Path("/usr"), tmp_path)
    assert note.status == "note" and f"{own}/bin first in PATH" in note.remedy


def test_packages_are_compared_with_the_constraints(assert_fault, tmp_path: Path) -> None:
    assert checks.check_packages({"numpy": "1"}, root=tmp_path).status == "note"
    assert_fault(checks.check_packages({"numpy": "1"}, ["numpy"], root=tmp_path), "numpy lacks files", "make setup")
    (tmp_path / "requirements").mkdir()
    for group in pins.GROUPS:
        pins.requirements_file(group, tmp_path).touch()
    (tmp_path / "constraints.txt").write_text("numpy==1.26.4\n")
    right = {"numpy": "1.26.4"}
    assert checks.check_packages(right, root=tmp_path).status == "ok"
    assert_fault(checks.check_packages({"numpy": "2"}, root=tmp_path), "numpy 2 instead of 1.26.4", "make setup")
    needs = "petastorm 0.12.1 requires dill, which is not installed."
    assert_fault(checks.check_packages(right, (), [needs], tmp_path), "requires dill", "make setup")


def test_java_is_the_one_that_sparks_scripts_take(site: Path, tmp_path: Path) -> None:
    environ = {"PATH": HERE}
    assert checks.spark_java_home(site, environ) == str(tmp_path / "java")
    old = fake_java(tmp_path / "old", "11.0.1")
    assert checks.spark_java_home(site, {**environ, "JAVA_HOME": str(old)}) == str(tmp_path / "java")
    empty = tmp_path / "empty"
    empty.mkdir()
    elsewhere = {**environ, "JAVA_HOME": str(old), "SPARK_CONF_DIR": str(empty)}
    assert checks.spark_java_home(site, elsewhere) == str(old)
    assert checks.spark_java_home(site, {**environ, "SPARK_CONF_DIR": str(empty)}) == ""


def test_java_that_is_absent_broken_or_of_another_version_is_a_fault(assert_fault, tmp_path: Path) -> None:
    good, old = fake_java(tmp_path / "good", "17.0.9"), fake_java(tmp_path / "old", "11.0.1")
    broken = fake_java(tmp_path / "broken", "17.0.9", fails=True)
    assert checks.check_java(str(good), {}).status == "ok"
    assert checks.check_java("", {"PATH": f"{good}/bin:{HERE}"}).status == "ok"
    assert_fault(checks.check_java("", {"PATH": "/nowhere"}), "none", "openjdk-17")
    assert_fault(checks.check_java(str(old), {}), "11.0.1", "make setup")
    assert_fault(checks.check_java(str(broken), {}), "doesn't run", "make setup")
    assert_fault(checks.check_java(str(tmp_path / "gone"), {}), "doesn't run", "make setup")


def test_a_spark_that_is_not_the_environments_is_a_fault(assert_fault, site: Path, tmp_path: Path) -> None:
    scripts = tmp_path / ".venv" / "bin"
    environ = {"PATH": f"{scripts}:{HERE}"}
    assert checks.check_spark("4.0.2", site, environ).status == "ok"
    assert checks.check_spark("4.0.2", site, {**environ, "SPARK_HOME": str(site / "pyspark")}).status == "ok"
    assert_fault(checks.check_spark(None, site, environ), "not installed", "make setup")
    assert_fault(checks.check_spark("4.0.2", site, {**environ, "SPARK_HOME": "/opt/spark"}), "/opt/spark", "unset")
    assert_fault(checks.check_spark("4.0.2", site, {"PATH": "/nowhere"}), "isn't in PATH", str(scripts))
    shutil.copytree(scripts, tmp_path / "other")
    other = {"PATH": f"{tmp_path}/other:{scripts}:{HERE}"}
    assert_fault(checks.check_spark("4.0.2", site, other), f"{tmp_path}/other", "first in PATH")


def test_defaults_that_spark_does_not_read_are_detected(assert_fault, site: Path) -> None:
    assert checks.check_defaults(site, {}).status == "ok"
    assert checks.check_defaults(site, {"SPARK_CONF_DIR": "/etc/spark"}).status == "note"
    (site / "pyspark" / "conf" / "spark-defaults.conf").unlink()
    assert_fault(checks.check_defaults(site, {}), "spark-defaults.conf", "make setup")


def test_delta_jars_must_match_the_python_package_and_sparks_scala(
    assert_fault, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_fault(checks.check_delta(None, site), "delta-spark is not installed", "make setup")
    assert_fault(checks.check_delta("4.0.1", site), "delta-storage-4.0.1.jar is missing", "make setup")
    monkeypatch.setattr(delta, "faults", lambda site: [])
    assert checks.check_delta("4.0.1", site).status == "ok"
    assert_fault(checks.check_delta("4.0.0", site), "4.0.1.jar beside delta-spark 4.0.0", "make setup")
    (site / "pyspark" / "jars" / "scala-library-2.12.18.jar").touch()
    assert_fault(checks.check_delta("4.0.1", site), "scala-library-2.12.18.jar", "make setup")
