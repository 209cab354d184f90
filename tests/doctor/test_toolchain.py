"""Test the search for the tools that build Horovod."""

import importlib.util
import sys
from pathlib import Path

import pytest

from etude.doctor import toolchain


def tool(folder: Path, *names: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.fixture
def headers(tmp_path: Path) -> str:
    (tmp_path / "Python.h").touch()
    return str(tmp_path)


def test_the_missing_tool_is_named(tmp_path: Path, headers: str) -> None:
    bin_ = tmp_path / "bin"
    assert toolchain.lacking(tool(bin_), headers) == "a C++ compiler"
    assert toolchain.lacking(tool(bin_, "g++"), headers) == "make"
    assert toolchain.lacking(tool(bin_, "make"), str(tmp_path / "nowhere")) == "Python's C headers"
    assert toolchain.lacking(tool(bin_), headers) is None


def test_cxx_has_precedence_and_must_exist(tmp_path: Path) -> None:
    environ = tool(tmp_path / "bin", "c++", "clang++-18", "ccache")
    assert toolchain.compiler(environ) == str(tmp_path / "bin" / "c++")
    assert toolchain.compiler({**environ, "CXX": "clang++-18"}) == "clang++-18"
    assert toolchain.compiler({**environ, "CXX": "ccache g++"}) == "ccache g++"
    assert toolchain.compiler({**environ, "CXX": "icpc"}) is None


@pytest.mark.parametrize(("lacking", "outcome"), [("make", pytest.skip.Exception), (None, ImportError)])
def test_horovod_tests_are_skipped_only_if_it_cannot_be_built(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, lacking: str | None, outcome: type
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    monkeypatch.setattr(toolchain, "lacking", lambda: lacking)
    with pytest.raises(outcome):
        request.getfixturevalue("needs_horovod")
