"""The virtual environment and the packages in it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from etude.environment import horovod
from etude.environment.pins import GROUPS, ROOT, SetupError, constraints, normalised, requirements_file, unmet


def venv_folder(root: Path = ROOT) -> Path:
    """Where the virtual environment lies."""
    return root / ".venv"


def venv_python(root: Path = ROOT) -> Path:
    """Its Python."""
    return venv_folder(root) / "bin" / "python"


def site_packages(root: Path = ROOT) -> Path:
    """Where its packages are installed."""
    return venv_folder(root) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def make_venv(root: Path = ROOT) -> None:
    """Make the virtual environment where there is none of the running Python that works.

    Raises:
        SetupError: this Python can't make one.
    """
    if _works(root):
        return
    shutil.rmtree(venv_folder(root), ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv_folder(root))], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError(f"{sys.executable} can't make a virtual environment (Debian: apt-get install python3-venv)")


def _works(root: Path) -> bool:
    """Whether the environment's Python is of the running version and has pip: an interrupted set-up may lack either."""
    activate = venv_folder(root) / "bin" / "activate"
    if not activate.exists() or not _names(activate.read_text(encoding="utf-8"), venv_folder(root)):
        return False  # moved here from elsewhere: its scripts name a Python that isn't this one
    try:
        done = subprocess.run(
            [str(venv_python(root)), "-c", "import sys, pip; print(sys.version_info[:2])"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == str(sys.version_info[:2])


def _names(activate: str, folder: Path) -> bool:
    """Whether the text of an `activate` script names the folder as its environment."""
    values = re.findall(r"^\s*(?:export )?VIRTUAL_ENV=(.*)$", activate, re.M)
    return any(shlex.split(value) == [str(folder)] for value in values)


def installed(folder: Path) -> dict[str, str]:
    """Versions of what is installed in a site-packages folder, by normalised name."""
    found = (dist for dist in distributions(path=[str(folder)]) if dist.metadata["Name"])
    return {normalised(dist.metadata["Name"]): dist.version for dist in found}


def damaged(folder: Path) -> list[str]:
    """Normalised names of packages that lack files or hold truncated ones: an interrupted installation leaves such."""
    return sorted(normalised(dist.metadata["Name"] or "") for dist in distributions(path=[str(folder)]) if _torn(dist))


def _torn(dist: Distribution) -> bool:
    files = dist.files
    if files is None:
        return True
    for file in files:
        # Scripts outside the folder are small, and the set-up replaces one of Spark's.
        if file.suffix == ".pyc" or file.size is None or ".." in file.parts:
            continue
        path = Path(str(dist.locate_file(file)))
        if not path.exists() or path.stat().st_size != file.size:
            return True
    return False


def install(root: Path = ROOT) -> None:
    """Install what is missing or has the wrong version, and Etude itself as an editable package.

    Raises:
        SetupError: pip failed.
    """
    folder = site_packages(root)
    for left in folder.glob("~*"):  # what a pip that was killed had put aside
        shutil.rmtree(left, ignore_errors=True)
    torn = damaged(folder)
    if "horovod" in torn:
        horovod.remove(folder)  # its step brings it back, from the kept wheel
    pinned = constraints(root)
    again = [f"{name}=={pinned[name]}" for name in torn if name in pinned and name != "horovod"]
    if again:
        pip(["install", "--force-reinstall", "--no-deps", "--no-build-isolation", *again], root)
    if unmet(installed(folder), root) or inconsistent(venv_python(root)):
        # setuptools first: packages that come as source are built with it, not with whatever is newest.
        pip(["install", "pip", "setuptools"], root)
        files = [word for group in GROUPS for word in ("-r", str(requirements_file(group, root)))]
        pip(["install", "--no-build-isolation", *files], root)
    # Each time: what setup.py says (commands, requirements) is copied when it is installed.
    pip(["install", "--no-build-isolation", "--no-deps", "--editable", str(root)], root)
    wrong = unmet(installed(folder), root)
    if wrong:
        raise SetupError("pip left the environment other than pinned: " + "; ".join(wrong))


def inconsistent(python: Path) -> list[str]:
    """What the packages beside a Python require and isn't there, or not in that version: a phrase each."""
    command = [str(python), "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [] if done.returncode == 0 else (done.stdout or done.stderr).strip().splitlines()


def pip(arguments: Sequence[str], root: Path = ROOT) -> None:
    """Run the environment's pip under constraints.txt; quiet where nobody watches.

    Raises:
        SetupError: it failed; pip's own words are on standard error.
    """
    verb, *rest = arguments
    command = [str(venv_python(root)), "-m", "pip", verb, "--disable-pip-version-check"]
    command += ["-c", str(root / "constraints.txt"), *([] if sys.stderr.isatty() else ["--quiet"])]
    done = subprocess.run([*command, *rest], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode != 0:
        raise SetupError("pip failed (its own words are above); `make setup` goes on from here when it is run again")
