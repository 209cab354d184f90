"""Make the virtual environment and install its packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from etude.doctor.packages import damaged, inconsistent, installed
from etude.doctor.pins import GROUPS, ROOT, constraints, requirements_file, unmet
from tools.setup import horovod
from tools.setup.errors import SetupError


def folder(root: Path = ROOT) -> Path:
    """Return the virtual environment's folder."""
    return root / ".venv"


def python(root: Path = ROOT) -> Path:
    """Return the path of the environment's Python."""
    return folder(root) / "bin" / "python"


def site_packages(root: Path = ROOT) -> Path:
    """Return the folder of the environment's packages."""
    return folder(root) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def check_python(root: Path = ROOT) -> None:
    """Check that an environment was made by the Python that runs, which `make setup PYTHON=...` may have named.

    Raises:
        SetupError: another one has made it, and is still there.
    """
    config = folder(root) / "pyvenv.cfg"
    found = re.search(r"^executable = (.+)$", config.read_text(encoding="utf-8"), re.M) if config.exists() else None
    if found and Path(found[1]).exists() and Path(found[1]).resolve() != Path(sys.executable).resolve():
        raise SetupError(f"{folder(root)} was made by {found[1]}; to use {sys.executable}, remove {folder(root)} first")


def make(root: Path = ROOT) -> None:
    """Make the virtual environment unless one with the running Python's version works.

    Raises:
        SetupError: this Python can't make one.
    """
    if _works(root):
        return
    shutil.rmtree(folder(root), ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(folder(root))], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError(f"{sys.executable} can't make a virtual environment (Debian: apt-get install python3-venv)")


def _works(root: Path) -> bool:
    """Return whether the environment's Python has the running version and pip, which an interrupted set-up may lack."""
    activate = folder(root) / "bin" / "activate"
    if not activate.exists() or not _names(activate.read_text(encoding="utf-8"), folder(root)):
        return False  # moved from another folder: its scripts name a Python that isn't this one
    try:
        done = subprocess.run(
            [str(python(root)), "-c", "import sys, pip; print(sys.version_info[:2])"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == str(sys.version_info[:2])


def _names(activate: str, folder: Path) -> bool:
    """Return whether the text of an `activate` script names the folder as its environment."""
    values = re.findall(r"^\s*(?:export )?VIRTUAL_ENV=(.*)$", activate, re.M)
    return any(shlex.split(value) == [str(folder)] for value in values)


def install(root: Path = ROOT) -> None:
    """Install missing packages and wrong versions, and Etude itself as an editable package.

    Raises:
        SetupError: pip failed, or its result differs from the pins.
    """
    site = site_packages(root)
    for left in site.glob("~*"):  # files that a killed pip had set aside
        shutil.rmtree(left, ignore_errors=True)
    torn = damaged(site)
    if "horovod" in torn:
        horovod.remove(site)  # its own step reinstalls it from the kept wheel
    pinned = constraints(root)
    again = [f"{name}=={pinned[name]}" for name in torn if name in pinned and name != "horovod"]
    if again:
        # pip can't uninstall what lacks its list of files, so it isn't asked to.
        pip(["install", "--ignore-installed", "--no-deps", "--no-build-isolation", *again], root)
    if unmet(installed(site), root) or inconsistent(python(root)):
        # setuptools first: source packages are built with this version, not with the newest.
        pip(["install", "pip", "setuptools"], root)
        files = [word for group in GROUPS for word in ("-r", str(requirements_file(group, root)))]
        pip(["install", "--no-build-isolation", *files], root)
    # Each time: pip copies the commands and requirements of setup.py at installation.
    pip(["install", "--no-build-isolation", "--no-deps", "--editable", str(root)], root)
    wrong = unmet(installed(site), root)
    if wrong:
        raise SetupError(
            f"after pip the environment differs from constraints.txt: {'; '.join(wrong)}; remove {folder(root)} and "
            "run `make setup` again"
        )


def pip(arguments: Sequence[str], root: Path = ROOT) -> None:
    """Run the environment's pip under constraints.txt; quiet unless standard error is a terminal.

    Raises:
        SetupError: pip failed; its messages are on standard error.
    """
    verb, *rest = arguments
    command = [str(python(root)), "-m", "pip", verb, "--disable-pip-version-check"]
    command += ["-c", str(root / "constraints.txt"), *([] if sys.stderr.isatty() else ["--quiet"])]
    done = subprocess.run([*command, *rest], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode != 0:
        raise SetupError("pip failed (see its messages above); run `make setup` again to continue")
