"""Test `etude doctor`: its two output formats and its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from etude.cli import doctor
from etude.cli.main import main
from etude.doctor.checks import AGAIN, Finding

GOOD = Finding("Java", "ok", "17.0.9")
NOTE = Finding("CUDA", "note", "no GPU found", "nothing")
FAULT = Finding("Delta", "fault", "delta-storage-4.0.1.jar is missing", "run `make setup` again")


def test_faults_exit_1_and_notes_do_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(doctor, "examine", lambda args: iter([GOOD, NOTE]))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok     Java  17.0.9",
        "note   CUDA  no GPU found",
        "             -> nothing",
        "ok: 1, note: 1, fault: 0",
    ]
    monkeypatch.setattr(doctor, "examine", lambda args: iter([GOOD, FAULT]))
    assert main(["doctor"]) == 1
    assert "-> run `make setup` again" in capsys.readouterr().out


def test_json_holds_every_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(doctor, "examine", lambda args: iter([GOOD, FAULT]))
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["findings"][1] == {
        "part": "Delta",
        "status": "fault",
        "found": "delta-storage-4.0.1.jar is missing",
        "remedy": "run `make setup` again",
    }


def test_settings_that_do_not_parse_exit_2(capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--quick", "lake.rot=x"]) == 2
    assert "lake.rot" in capsys.readouterr().err


def test_missing_packages_are_a_fault_and_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(doctor, "static_findings", lambda folder: [GOOD])
    monkeypatch.delattr("etude.doctor.live", raising=False)
    monkeypatch.setitem(sys.modules, "etude.doctor.live", None)
    assert main(["doctor", "--quick"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("17.0.9")
    assert lines[1].startswith("fault  imports")
    assert lines[2].endswith(f"-> {AGAIN}")


def test_without_any_package_it_still_reports(tmp_path) -> None:
    """Run it as on a machine without a set-up: this Python and no packages."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(doctor.__file__).parents[2])!r})\n"
        "from etude.cli import doctor, main\n"
        "doctor.static_findings = lambda folder: []\n"
        "sys.exit(main.main(['doctor', '--quick', '--json']))"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stderr
    assert [finding["part"] for finding in json.loads(done.stdout)["findings"]] == ["imports"]


@pytest.mark.slow
def test_on_this_environment(tmp_path) -> None:
    """Use no stand-ins: torch, Horovod, a Spark session with one task, a Delta table."""
    command = [sys.executable, "-m", "etude.cli.main", "doctor", "--json", f"lake.root={tmp_path}/lake"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    findings = {finding["part"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["executors"]["status"] == "ok", findings
    assert findings["Delta round trip"]["status"] == "ok", findings
    assert findings["Java"]["status"] == "ok", findings
    assert findings["Delta"]["status"] == "ok", findings
    assert done.returncode == any(finding["status"] == "fault" for finding in findings.values())
