"""Read the versions that the environment must hold: exact versions and direct dependencies."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GROUPS = ("core", "train", "query", "dev")


def normalised(name: str) -> str:
    """Return a distribution's name in the form that package indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints(root: Path = ROOT) -> dict[str, str]:
    """Return the exact version of every distribution in constraints.txt, by normalised name."""
    pairs = (line.partition("==") for line in _lines(root / "constraints.txt"))
    return {normalised(name): version for name, _, version in pairs}


def direct_dependencies(root: Path = ROOT) -> list[str]:
    """Return the normalised names of the distributions in requirements/*.txt."""
    return [name_of(line) for group in GROUPS for line in requirements(group, root)]


def requirements(group: str, root: Path = ROOT) -> list[str]:
    """Return the requirements of one group, without comments."""
    return _lines(requirements_file(group, root))


def name_of(requirement: str) -> str:
    """Return the normalised name of the distribution that a requirement names."""
    return normalised(re.split(r"[<>=!~ ;\[]", requirement, maxsplit=1)[0])


def requirements_file(group: str, root: Path = ROOT) -> Path:
    """Return the path of the file that lists one group's direct dependencies."""
    return root / "requirements" / f"{group}.txt"


def unmet(have: dict[str, str], root: Path = ROOT) -> list[str]:
    """Compare installed distributions with the pins.

    Args:
        have: normalised name -> installed version.
        root: the project's folder.

    Returns:
        One phrase per missing direct dependency and per distribution whose version differs from its pin.
    """
    pinned = constraints(root)
    missing = [f"{name} is not installed" for name in direct_dependencies(root) if name not in have]
    wrong = [
        f"{name} {version} instead of {pinned[name]}"
        for name, version in sorted(have.items())
        if name in pinned and pinned[name] != version
    ]
    return missing + wrong


def _lines(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]
