"""Stand-ins that several of these tests need."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etude.environment.checks import Finding


@pytest.fixture
def fake_java() -> Callable[..., Path]:
    """Makes a folder with a `bin/java` of a given version."""

    def make(home: Path, version: str, fails: bool = False, refuses_vector: bool = False) -> Path:
        """A `java` that answers as a real one does when it is asked what it is."""
        binary = home / "bin" / "java"
        binary.parent.mkdir(parents=True)
        (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
        refusal = (
            'case "$*" in *jdk.incubator.vector*) echo "FindException" >&2; exit 1;; esac\n' if refuses_vector else ""
        )
        binary.write_text(
            f"#!/bin/sh\n{refusal}{'exit 1' if fails else ''}\n"
            f"echo '    java.home = {home}' >&2\necho '    java.version = {version}' >&2\n"
        )
        binary.chmod(0o755)
        return home

    return make


@pytest.fixture
def assert_fault() -> Callable[[Finding, str, str], None]:
    """Checks that a finding is a fault, what it names, and what it advises."""

    def check(finding: Finding, found: str, remedy: str) -> None:
        assert finding.status == "fault"
        assert found in finding.found
        assert remedy in finding.remedy

    return check
