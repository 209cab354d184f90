"""The stamp that ends a second set-up at once, and what makes it count no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from etude.environment import __main__ as setup
from etude.environment import delta, horovod, packages, pins, sparkconf


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose environment is complete, as far as the stamp can tell."""
    root = tmp_path / "project"
    site = packages.site_packages(root)
    for folder in (sparkconf.spark_home(site) / "jars", root / "requirements", root / "java" / "bin", root / "conf"):
        folder.mkdir(parents=True)
    for group in pins.GROUPS:
        pins.requirements_file(group, root).touch()
    (root / "setup.py").touch()
    (root / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    packages.venv_python(root).parent.mkdir()
    packages.venv_python(root).touch()
    (root / "java" / "bin" / "java").touch()
    for name in sparkconf.LINKED:
        (root / "conf" / name).touch()
    for jar in delta.JARS:
        delta.jar_path(jar, site).touch()
    sparkconf.write(site, packages.venv_python(root), root / "java", root)
    monkeypatch.setattr(horovod, "lacking", lambda: "a C++ compiler")
    monkeypatch.setattr(horovod, "compiler", lambda: None)
    stamp(root, "installed")
    return root


def stamp(root: Path, horovod_state: str) -> None:
    content = {"key": pins.setup_key(root), "java_home": str(root / "java"), "horovod": horovod_state}
    setup.stamp_file(root).write_text(json.dumps(content))


def test_a_complete_environment_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "set_up", lambda root: pytest.fail("set up again"))
    assert setup.is_complete(project)
    assert setup.main(project) == 0


@pytest.mark.parametrize(
    "vanishes",
    [
        ".venv/etude-setup.json",
        ".venv/bin/python",
        "java/bin/java",
        "conf/spark-defaults.conf",
        "{site}/pyspark/conf/spark-env.sh",
        "{site}/pyspark/jars/delta-storage-4.0.1.jar",
    ],
)
def test_what_vanished_is_noticed(project: Path, vanishes: str) -> None:
    (project / vanishes.format(site=packages.site_packages(project))).unlink()
    assert not setup.is_complete(project)


def test_changed_constraints_are_noticed(project: Path) -> None:
    (project / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\nsix==1.17.0\n")
    assert not setup.is_complete(project)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "x"}'])
def test_a_torn_stamp_counts_as_none(project: Path, content: str) -> None:
    setup.stamp_file(project).write_text(content)
    assert not setup.is_complete(project)


def test_without_a_compiler_the_environment_is_complete_until_one_comes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    stamp(project, setup.provide_horovod(project))
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    for word in ("a C++ compiler", "train.distribution=torch", "apt-get install g++", "dnf install", "xcode-select"):
        assert word in said
    assert setup.is_complete(project)
    monkeypatch.setattr(horovod, "lacking", lambda: None)
    monkeypatch.setattr(horovod, "compiler", lambda: "/usr/bin/c++")
    assert not setup.is_complete(project)


def test_a_folder_with_a_blank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pins.SetupError, match="blank in its path"):
        setup.set_up(tmp_path / "my projects")


def test_a_full_disk_is_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_FREE_GB", 10**9)
    with pytest.raises(pins.SetupError, match="GB of disk"):
        setup.set_up(tmp_path)


def test_packages_that_an_interruption_left_torn_are_found(tmp_path: Path) -> None:
    for name in ("whole", "short", "gone", "unrecorded"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        if name != "unrecorded":
            (info / "RECORD").write_text(f"{name}.py,sha256=x,4\n{name}-1.0.dist-info/RECORD,,\n")
    (tmp_path / "whole.py").write_text("a=1\n")
    (tmp_path / "short.py").write_text("a=")
    assert packages.damaged(tmp_path) == ["gone", "short", "unrecorded"]
    assert packages.installed(tmp_path)["whole"] == "1.0"


def test_an_environment_that_does_not_work_is_made_anew(tmp_path: Path) -> None:
    """One that was moved here, whose Python is gone, or that was interrupted before pip."""
    packages.site_packages(tmp_path).mkdir(parents=True)
    assert not packages._works(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    assert not packages._works(tmp_path)
    pip = packages.site_packages(tmp_path) / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    assert packages._works(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / ".venv").rename(moved / ".venv")
    assert not packages._works(moved)


@pytest.mark.parametrize(
    ("activate", "works"),
    [
        ('VIRTUAL_ENV="/srv/.venv"\nexport VIRTUAL_ENV\n', True),
        ("    export VIRTUAL_ENV=/srv/.venv\n", True),
        ('VIRTUAL_ENV="/tmp/x/srv/.venv"\n', False),
        ("# /srv/.venv\nVIRTUAL_ENV='/srv/.venv2'\n", False),
    ],
)
def test_an_environment_works_in_the_very_folder_that_it_was_made_in(activate: str, works: bool) -> None:
    assert packages._names(activate, Path("/srv/.venv")) == works


def test_a_torn_horovod_comes_back_from_its_kept_wheel_and_etude_is_installed_each_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never from source by plain pip, which knows nothing of the switches it is built with."""
    folder = packages.site_packages(project)
    for name, version in (("horovod", "0.28.1"), ("torch", "2.13.0")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (folder / "horovod").mkdir()
    wheel = horovod.wheel_folder(project) / f"horovod-0.28.1-{pins.python_tag()}-{pins.python_tag()}-x.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    calls: list[list[str]] = []
    monkeypatch.setattr(packages, "pip", lambda arguments, root: calls.append(list(arguments)))
    monkeypatch.setattr(packages, "inconsistent", lambda python: [])
    packages.install(project)
    assert [call[-1] for call in calls] == ["torch==2.13.0", str(project)]
    assert not [word for call in calls for word in call if word.startswith("horovod")]
    assert not (folder / "horovod").exists()
    assert setup.provide_horovod(project) == "installed"
    assert calls[-1][-1] == str(wheel)


def test_a_build_that_failed_says_how_to_try_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*arguments, **named):
        raise pins.SetupError("Horovod couldn't be built (log: x)")

    monkeypatch.setattr(packages, "pip", lambda arguments, root: None)
    monkeypatch.setattr(horovod, "lacking", lambda: None)
    monkeypatch.setattr(horovod, "build", fails)
    stamp(project, setup.provide_horovod(project))
    assert f"remove {setup.stamp_file(project)} and run `make setup` again" in capsys.readouterr().err
    assert setup.is_complete(project)
