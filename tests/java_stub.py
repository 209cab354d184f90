"""Write a stand-in for a Java runtime."""

from __future__ import annotations

from pathlib import Path


def fake_java(home: Path, version: str, fails: bool = False, refuses_vector: bool = False) -> Path:
    """Make a JAVA_HOME whose `java` prints its settings as a real one does; return the folder.

    Args:
        home: the folder to make.
        version: the full version text, such as 17.0.9.
        fails: whether every call ends with exit status 1.
        refuses_vector: whether a call with the module jdk.incubator.vector fails.
    """
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
    refusal = 'case "$*" in *jdk.incubator.vector*) echo "FindException" >&2; exit 1;; esac\n' if refuses_vector else ""
    binary.write_text(
        f"#!/bin/sh\n{refusal}{'exit 1' if fails else ''}\n"
        f"echo '    java.home = {home}' >&2\necho '    java.version = {version}' >&2\n"
    )
    binary.chmod(0o755)
    return home
