"""Test the checks of what surrounds the installation."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from etude.doctor import surroundings


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return path


def test_no_named_python_is_this_one() -> None:
    assert surroundings.check_named_python({}).status == "ok"
    assert surroundings.check_named_python({"PYSPARK_PYTHON": sys.executable}).status == "ok"


@pytest.mark.parametrize("name", ["PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"])
def test_a_python_that_cannot_run_jobs_is_a_fault(assert_fault, tmp_path: Path, name: str) -> None:
    old = program(tmp_path / "old", "echo 3.9", "echo /old")
    broken = program(tmp_path / "broken", "exit 1")
    for path, found in (("/no/python", "no such program"), (old, "3.9; Etude needs 3.11"), (broken, "no Python")):
        assert_fault(surroundings.check_named_python({name: str(path)}), found, f"unset {name}")


def test_a_python_of_another_environment_and_one_of_an_archive_are_notes(tmp_path: Path) -> None:
    other = program(tmp_path / "other", "echo 3.11", "echo /other")
    for path, found in ((str(other), "isn't this environment's"), ("./environment/bin/python", "unpacked archive")):
        finding = surroundings.check_named_python({"PYSPARK_PYTHON": path})
        assert finding.status == "note" and found in finding.found


def test_another_python_for_the_driver_is_a_fault(assert_fault, tmp_path: Path) -> None:
    other = program(tmp_path / "other", "echo 3.11", "echo /other")
    found = surroundings.check_named_python({"PYSPARK_DRIVER_PYTHON": str(other)})
    assert_fault(found, "which lacks Etude", "unset PYSPARK_DRIVER_PYTHON")


def test_packages_of_another_spark_in_pythonpath_are_a_fault(assert_fault) -> None:
    assert surroundings.check_shadows().status == "ok"
    strange = SimpleNamespace(origin="/opt/spark/python/pyspark/__init__.py")
    found = surroundings.check_shadows("/env/site-packages", {"pyspark": strange}.get)
    assert_fault(found, "pyspark comes from /opt/spark", "unset PYTHONPATH")


def test_another_configuration_of_spark_is_a_note() -> None:
    assert surroundings.check_conf({}).status == "ok"
    assert surroundings.check_conf({"SPARK_CONF_DIR": "/etc/spark"}).status == "note"


def test_a_host_name_without_an_address_is_a_fault(assert_fault) -> None:
    assert surroundings.check_host("localhost", {}).found == "localhost, 127.0.0.1"
    lost = "no-such-host.invalid"
    assert_fault(surroundings.check_host(lost, {}), lost, f"127.0.0.1 {lost}")
    assert surroundings.check_host(lost, {"SPARK_LOCAL_IP": "127.0.0.1"}).status == "ok"


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, "note"),
        ({"LANG": "C"}, "note"),
        ({"LANG": "de_DE.ISO-8859-1"}, "note"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, "note"),
        ({"LANG": "en_US.UTF-8"}, "ok"),
        ({"LANG": "C", "LC_ALL": "C.utf8"}, "ok"),
    ],
)
def test_a_locale_without_utf8_is_a_note(environ, status) -> None:
    assert surroundings.check_locale(environ).status == status
