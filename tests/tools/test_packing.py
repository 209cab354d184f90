"""What is packed for executors follows from requirements/ and the pins."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from etude.doctor.pins import ROOT
from tools import package
from tools.setup.errors import SetupError


def names(requirements):
    return [re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0] for line in requirements]


def test_executors_get_the_core_packages_but_those_of_the_driver():
    packed = names(package.requirements("core"))
    assert {"numpy", "pyarrow", "pandas", "numba", "librosa", "soundfile", "pydantic"} <= set(packed)
    assert not package.DRIVER_ONLY & set(packed)
    lines = (ROOT / "requirements" / "core.txt").read_text().splitlines()
    listed = names(line for line in lines if line and not line.startswith("#"))
    assert set(listed) - set(packed) == package.DRIVER_ONLY  # each is still a requirement


def test_train_adds_its_packages():
    assert {"torch", "petastorm"} <= set(names(package.requirements("train")))


@pytest.mark.parametrize("arguments", [["gpu"], ["core", "train"]])
def test_an_unknown_part_is_refused(arguments, capsys, tmp_path):
    assert package.main(arguments, tmp_path) == 2
    assert "expected core or train" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_lost_wheel_of_horovod_is_no_reason_to_pack_without_it(tmp_path, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(
        package.subprocess, "run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0)
    )
    monkeypatch.setattr(package, "requirements", lambda group, root: [group])
    monkeypatch.setattr(package.horovod, "kept_wheel", lambda root: None)
    monkeypatch.setattr(package.horovod, "wheel_folder", lambda root: tmp_path / "wheels")
    monkeypatch.setattr(package.horovod, "installed_for", lambda site, root: True)
    with pytest.raises(SetupError, match=r"its wheel isn't in .*wheels any more"):
        package.fill(tmp_path / "environment", "train", tmp_path)
    monkeypatch.setattr(package.horovod, "installed_for", lambda site, root: False)
    package.fill(tmp_path / "environment", "train", tmp_path)
    assert "without Horovod" in capsys.readouterr().err and len(commands) == 3
