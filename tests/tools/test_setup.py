"""Test the set-up's steps, and the stamp that ends a second set-up at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from etude.doctor import delta, pins, spark, toolchain
from tools.setup import __main__ as setup
from tools.setup import horovod, spark_conf, stamp, venv
from tools.setup.errors import SetupError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose environment is complete by its stamp."""
    root = tmp_path / "project"
    site = venv.site_packages(root)
    for folder in (spark.spark_home(site) / "jars", root / "requirements", root / "java" / "bin", root / "conf"):
        folder.mkdir(parents=True)
    for group in pins.GROUPS:
        pins.requirements_file(group, root).touch()
    (root / "setup.py").touch()
    (root / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    venv.python(root).parent.mkdir()
    venv.python(root).touch()
    (root / "java" / "bin" / "java").touch()
    for name in spark_conf.LINKED:
        (root / "conf" / name).touch()
    for jar in delta.JARS:
        delta.jar_path(jar, site).touch()
    spark_conf.write(site, venv.python(root), root / "java", root)
    monkeypatch.setattr(toolchain, "lacking", lambda: "a C++ compiler")
    monkeypatch.setattr(toolchain, "compiler", lambda: None)
    stamp.write_stamp(root / "java", "installed", root)
    return root


def test_a_complete_environment_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "set_up", lambda root: pytest.fail("set up again"))
    assert stamp.is_complete(project)
    assert setup.main(project) == 0


@pytest.mark.parametrize(
    "missing",
    [
        ".venv/etude-setup.json",
        ".venv/bin/python",
        "java/bin/java",
        "conf/spark-defaults.conf",
        "{site}/pyspark/conf/spark-env.sh",
        "{site}/pyspark/jars/delta-storage-4.0.1.jar",
    ],
)
def test_a_missing_file_is_detected(project: Path, missing: str) -> None:
    (project / missing.format(site=venv.site_packages(project))).unlink()
    assert not stamp.is_complete(project)


def test_changed_constraints_are_detected(project: Path) -> None:
    (project / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\nsix==1.17.0\n")
    assert not stamp.is_complete(project)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "x"}'])
def test_an_incomplete_stamp_counts_as_none(project: Path, content: str) -> None:
    stamp.stamp_file(project).write_text(content)
    assert not stamp.is_complete(project)


def test_without_a_compiler_the_environment_is_complete_until_one_comes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    stamp.write_stamp(project / "java", setup.provide_horovod(project), project)
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    for word in ("a C++ compiler", "train.distribution=torch", "apt-get install g++", "dnf install", "xcode-select"):
        assert word in said
    assert stamp.is_complete(project)
    monkeypatch.setattr(toolchain, "lacking", lambda: None)
    monkeypatch.setattr(toolchain, "compiler", lambda: "/usr/bin/c++")
    assert not stamp.is_complete(project)


def test_a_folder_with_a_blank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="contains a blank"):
        setup.set_up(tmp_path / "my projects")


def test_a_full_disk_is_reported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_FREE_GB", 10**9)
    with pytest.raises(SetupError, match="GB of free disk"):
        setup.set_up(tmp_path)


def test_an_environment_that_does_not_work_is_detected(tmp_path: Path) -> None:
    """The cases: moved to this folder, without Python, interrupted before pip."""
    venv.site_packages(tmp_path).mkdir(parents=True)
    assert not venv._works(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    assert not venv._works(tmp_path)
    pip = venv.site_packages(tmp_path) / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    assert venv._works(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / ".venv").rename(moved / ".venv")
    assert not venv._works(moved)


@pytest.mark.parametrize(
    ("activate", "works"),
    [
        ('VIRTUAL_ENV="/srv/.venv"\nexport VIRTUAL_ENV\n', True),
        ("    export VIRTUAL_ENV=/srv/.venv\n", True),
        ('VIRTUAL_ENV="/tmp/x/srv/.venv"\n', False),
        ("# /srv/.venv\nVIRTUAL_ENV='/srv/.venv2'\n", False),
    ],
)
def test_an_environment_works_in_its_own_folder_only(activate: str, works: bool) -> None:
    assert venv._names(activate, Path("/srv/.venv")) == works


def test_a_damaged_horovod_is_reinstalled_from_its_wheel_and_etude_is_installed_each_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain pip would build it from source without the switches that it needs."""
    folder = venv.site_packages(project)
    for name, version in (("horovod", "0.28.1"), ("torch", "2.13.0")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (folder / "horovod").mkdir()
    wheel = horovod.wheel_folder(project) / f"horovod-0.28.1-{horovod.python_tag()}-{horovod.python_tag()}-x.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    calls: list[list[str]] = []
    monkeypatch.setattr(venv, "pip", lambda arguments, root: calls.append(list(arguments)))
    monkeypatch.setattr(venv, "inconsistent", lambda python: [])
    venv.install(project)
    assert [call[-1] for call in calls] == ["torch==2.13.0", str(project)]
    assert not [word for call in calls for word in call if word.startswith("horovod")]
    assert not (folder / "horovod").exists()
    assert setup.provide_horovod(project) == "installed"
    assert calls[-1][-1] == str(wheel)


def test_a_failed_build_says_how_to_try_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*arguments, **named):
        raise SetupError("Horovod couldn't be built (log: x)")

    monkeypatch.setattr(venv, "pip", lambda arguments, root: None)
    monkeypatch.setattr(toolchain, "lacking", lambda: None)
    monkeypatch.setattr(horovod, "build", fails)
    stamp.write_stamp(project / "java", setup.provide_horovod(project), project)
    assert f"remove {stamp.stamp_file(project)} and run `make setup` again" in capsys.readouterr().err
    assert stamp.is_complete(project)


def test_the_key_is_stable_and_follows_every_file_of_pins(project: Path) -> None:
    keys = [stamp.setup_key(project)]
    assert stamp.setup_key(project) == keys[0]
    for name in ("constraints.txt", "requirements/core.txt", "requirements/dev.txt", "setup.py"):
        with (project / name).open("a") as stream:
            stream.write("# changed\n")
        keys.append(stamp.setup_key(project))
    assert len(set(keys)) == len(keys)


def test_the_key_follows_the_python_version_and_the_place(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stamp.setup_key(project)
    moved = project.rename(project.with_name("moved"))
    assert stamp.setup_key(moved) != here
    back = moved.rename(project)
    assert stamp.setup_key(back) == here
    monkeypatch.setattr(horovod, "python_tag", lambda: "cp312")
    assert stamp.setup_key(back) != here


def test_the_key_follows_what_horovod_is_built_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stamp.setup_key(project)
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
    assert stamp.setup_key(project) != here


def test_another_python_than_the_one_that_made_the_environment_is_refused(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    config = venv.folder(project) / "pyvenv.cfg"
    config.write_text(f"home = /usr/bin\nexecutable = {sys.executable}\n")
    assert setup.main(project) == 0
    other = project / "python3.11"
    other.touch()
    config.write_text(f"home = /usr/bin\nexecutable = {other}\n")
    assert setup.main(project) == 1
    assert f"was made by {other}; to use {sys.executable}, remove" in capsys.readouterr().err
    other.unlink()  # then it can't be used any more, and is made anew
    venv.check_python(project)


def test_a_horovod_whose_needs_can_not_be_fetched_costs_only_horovod(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def offline(arguments, root):
        raise SetupError("pip failed")

    monkeypatch.setattr(toolchain, "lacking", lambda: None)
    monkeypatch.setattr(venv, "pip", offline)
    setup.provide_horovod(project)
    assert "pip failed: training will use train.distribution=torch" in capsys.readouterr().err
