"""Each program has one folder for temporary files; those of killed programs go, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etude import machine, scratch

MAKE = "import sys, time; from etude import scratch; print(scratch.folder(sys.argv[1]), flush=True); "


def program(below: Path, end: str) -> tuple[subprocess.Popen, Path]:
    """Start a program that makes its folder, with a file in it, and then does `end`."""
    process = subprocess.Popen([sys.executable, "-c", MAKE + end, str(below)], stdout=subprocess.PIPE, text=True)
    made = Path(process.stdout.readline().strip())
    (made / "file").write_text("")
    return process, made


def test_the_end_of_a_program_removes_its_folder(tmp_path):
    process, made = program(tmp_path, "time.sleep(0.5)")
    assert made.stat().st_mode & 0o777 == 0o700
    assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stays_while_its_program_lives_and_goes_when_it_was_killed(tmp_path):
    process, made = program(tmp_path, "time.sleep(60)")
    scratch.sweep(tmp_path)
    assert made.is_dir()
    process.kill()
    process.wait(30)
    assert made.is_dir()
    scratch.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_program_has_one_folder_however_the_place_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    found = {scratch.folder(str(place)) for place in (tmp_path, f"{tmp_path}/", tmp_path / "link")}
    (made,) = found
    made.rmdir()


def test_another_process_with_the_same_id_does_not_keep_a_folder(tmp_path):
    left = tmp_path / f"etude-run-{scratch._machine()}-{os.getpid()}-{machine.started(os.getpid()) + 1}"
    left.mkdir()
    scratch.sweep(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    "name",
    [
        "etude-run-00000000-{dead}-1",  # of another machine or container
        "etude-run-{machine}-{dead}",
        "etude-run-{machine}-{dead}-1.bak",
        "etude-kernels-0",
        "spark-0",
        "blockmgr-0",
    ],
)
def test_what_is_not_certainly_a_dead_program_s_stays(tmp_path, name):
    left = tmp_path / name.format(machine=scratch._machine(), dead=2**22 + 1)
    left.mkdir()
    scratch.sweep(tmp_path)
    assert left.is_dir()


def test_another_user_s_folder_and_a_link_stay(tmp_path, monkeypatch):
    name = f"etude-run-{scratch._machine()}-{2**22 + 1}-1"
    (tmp_path / "target").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "target")
    (tmp_path / f"{name}1").mkdir()
    monkeypatch.setattr(scratch.os, "getuid", lambda: os.geteuid() + 1)
    scratch.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    scratch.sweep(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [name, "target"]


def test_files_for_later_programs_lie_outside(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert scratch.lasting() == tmp_path
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / f"etude-run-{scratch._machine()}-1-1"))
    assert scratch.lasting() == tmp_path
