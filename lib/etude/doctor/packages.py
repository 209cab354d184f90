"""Inspect the packages of an environment: versions, missing files, unmet requirements."""

from __future__ import annotations

import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path

from etude.doctor.pins import normalised


def installed(folder: Path) -> dict[str, str]:
    """Return the versions of the distributions in a site-packages folder, by normalised name."""
    found = (dist for dist in distributions(path=[str(folder)]) if dist.metadata["Name"])
    return {normalised(dist.metadata["Name"]): dist.version for dist in found}


def damaged(folder: Path) -> list[str]:
    """Return the normalised names of packages with missing or truncated files, as an interrupted pip leaves them."""
    return sorted(normalised(dist.metadata["Name"] or "") for dist in distributions(path=[str(folder)]) if _torn(dist))


def inconsistent(python: Path) -> list[str]:
    """Return one phrase per requirement that the packages of a Python don't meet, from `pip check`."""
    command = [str(python), "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [] if done.returncode == 0 else (done.stdout or done.stderr).strip().splitlines()


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
