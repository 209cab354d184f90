"""Test the examination of a Java runtime."""

from pathlib import Path

from etude.doctor.java import Java, probe
from java_stub import fake_java


def test_a_java_that_runs_is_described(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "java", "17.0.1")
    assert probe(home / "bin" / "java", "PATH") == Java(home, 17, "17.0.1", "PATH")


def test_a_java_that_fails_or_lacks_the_vector_module_is_none(tmp_path: Path) -> None:
    assert probe(tmp_path / "bin" / "java", "nowhere") is None
    assert probe(fake_java(tmp_path / "a", "17.0.1", fails=True) / "bin" / "java", "x") is None
    assert probe(fake_java(tmp_path / "b", "17.0.1", refuses_vector=True) / "bin" / "java", "x") is None
