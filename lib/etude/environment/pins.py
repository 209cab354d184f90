"""What the environment must hold: exact versions, direct dependencies, and the key that tells when they changed."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GROUPS = ("core", "train", "query", "dev")
_FORMAT = "1"  # raise it when the set-up itself starts to do something that old environments lack


class SetupError(Exception):
    """The set-up can't go on; the message says what a person should do."""


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints(root: Path = ROOT) -> dict[str, str]:
    """Exact version of every distribution that constraints.txt names, by normalised name."""
    pairs = (line.partition("==") for line in _lines(root / "constraints.txt"))
    return {normalised(name): version for name, _, version in pairs}


def direct_dependencies(root: Path = ROOT) -> list[str]:
    """Normalised names of what requirements/*.txt asks for."""
    lines = (line for group in GROUPS for line in _lines(requirements_file(group, root)))
    return [normalised(re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0]) for line in lines]


def requirements_file(group: str, root: Path = ROOT) -> Path:
    """Where the direct dependencies of one group are listed."""
    return root / "requirements" / f"{group}.txt"


def setup_key(root: Path = ROOT) -> str:
    """Changes whenever the environment has to be set up again: other pins, another Python, a moved project."""
    digest = hashlib.sha256()
    for part in (_FORMAT, str(root), sys.platform, platform.machine(), python_tag()):
        digest.update(part.encode() + b"\0")
    for file in (root / "constraints.txt", *(requirements_file(group, root) for group in GROUPS), root / "setup.py"):
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def python_tag() -> str:
    """The running Python as wheels name it, such as cp311."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def unmet(have: dict[str, str], root: Path = ROOT) -> list[str]:
    """What keeps installed distributions (normalised name -> version) from being as pinned, a phrase each."""
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
