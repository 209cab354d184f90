"""The `etude` command: finding sub-commands, loading only one of them, and exit statuses."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from etude.cli import main as cli
from etude.errors import InputMissingError


def test_help_names_every_command_and_imports_none_of_them(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())  # the terminal's width breaks lines anywhere
    assert "doctor" in shown and "a remedy for each fault" in shown
    script = (
        "import sys; from etude.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('pyspark', 'torch', 'pydantic', 'etude.cli.doctor')))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def test_every_command_offers_a_parser_a_line_and_an_own_help(capsys: pytest.CaptureFixture) -> None:
    for name, module in cli.commands().items():
        assert cli._summary(module), f"{name}: the module's docstring is its line in the help"
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: etude {name} " in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["no-such-command"], [], ["main"], ["--quick", "doctor"], ["doctor", "--what"]])
def test_a_usage_error_exits_2(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_failure_is_one_line_and_its_own_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from etude.cli import doctor

    def fails(args):
        raise InputMissingError("no lake there")

    monkeypatch.setattr(doctor, "run", fails)
    assert cli.main(["doctor"]) == 3
    assert capsys.readouterr().err == "etude doctor: no lake there\n"


def test_a_reader_that_has_read_enough_ends_a_command_quietly() -> None:
    script = (
        "import sys; from etude.cli import doctor, main\n"
        "doctor.run = lambda args: [print('line') for _ in range(100_000)] and 0\n"
        "sys.exit(main.main(['doctor']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None and started.stderr is not None
        assert started.stdout.readline() == b"line\n"
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 128 + signal.SIGPIPE
