"""Whether Horovod can be built here, and which wheel belongs to which torch."""

import importlib.util
import sys
from pathlib import Path

import pytest

from etude.environment import horovod
from etude.environment.pins import python_tag


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


def test_what_is_lacking_is_named(tmp_path: Path, headers: str) -> None:
    bin_ = tmp_path / "bin"
    assert horovod.lacking(tool(bin_), headers) == "a C++ compiler"
    assert horovod.lacking(tool(bin_, "g++"), headers) == "make"
    assert horovod.lacking(tool(bin_, "make"), str(tmp_path / "nowhere")) == "Python's C headers"
    assert horovod.lacking(tool(bin_), headers) is None


def test_the_compiler_of_cxx_wins_and_must_exist(tmp_path: Path) -> None:
    environ = tool(tmp_path / "bin", "c++", "clang++-18", "ccache")
    assert horovod.compiler(environ) == str(tmp_path / "bin" / "c++")
    assert horovod.compiler({**environ, "CXX": "clang++-18"}) == "clang++-18"
    assert horovod.compiler({**environ, "CXX": "ccache g++"}) == "ccache g++"
    assert horovod.compiler({**environ, "CXX": "icpc"}) is None


def test_a_wheel_is_kept_for_one_torch_one_python_and_one_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    assert horovod.kept_wheel(tmp_path) is None
    folder = horovod.wheel_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "horovod-0.28.1-cp27-cp27-linux_x86_64.whl").touch()
    (folder / f"horovod-0.28.0-{python_tag()}-{python_tag()}-linux_x86_64.whl").touch()
    assert horovod.kept_wheel(tmp_path) is None
    wheel = folder / f"horovod-0.28.1-{python_tag()}-{python_tag()}-linux_x86_64.whl"
    wheel.touch()
    assert horovod.kept_wheel(tmp_path) == wheel
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(horovod.sysconfig, "get_platform", lambda: "macosx-14.0-arm64")
        assert horovod.kept_wheel(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("torch==2.14.0\nhorovod==0.28.1\n")
    assert horovod.kept_wheel(tmp_path) is None


def test_an_installed_horovod_of_another_torch_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    assert not horovod.installed_for(tmp_path, tmp_path)
    info = tmp_path / "horovod-0.28.1.dist-info"
    info.mkdir()
    folder = horovod.wheel_folder(tmp_path).name
    other = folder.replace("2.13.0", "2.12.0")
    (info / "direct_url.json").write_text(f'{{"url": "file:///x/build/wheels/{other}/horovod-0.28.1-x.whl"}}')
    assert not horovod.installed_for(tmp_path, tmp_path)
    (info / "direct_url.json").write_text(f'{{"url": "file:///x/build/wheels/{folder}/horovod-0.28.1-x.whl"}}')
    assert horovod.installed_for(tmp_path, tmp_path)


@pytest.mark.parametrize(("lacking", "outcome"), [("make", pytest.skip.Exception), (None, ImportError)])
def test_tests_of_horovod_are_skipped_only_where_it_cannot_be_built(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, lacking: str | None, outcome: type
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    monkeypatch.setattr(horovod, "lacking", lambda: lacking)
    with pytest.raises(outcome):
        request.getfixturevalue("needs_horovod")
