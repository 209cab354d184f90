"""Define Delta's two jars and check them among Spark's own jars."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from etude.doctor.spark import spark_home


@dataclass(frozen=True)
class Jar:
    """Describe a Maven artifact and the SHA-256 of its content."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """Return the coordinates that `spark-submit --packages` takes."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Return the file's name among Spark's own jars."""
        return f"{self.artifact}-{self.version}.jar"


JARS = (
    Jar(
        "io.delta",
        "delta-spark_2.13",
        "4.0.1",
        "a1e76860b19fe1e6b205a4ea7a9099a2f9575d39bb71d49b3e679b299d0efb91",
    ),
    Jar("io.delta", "delta-storage", "4.0.1", "ecc42c5aaa51c423312d9e4e48aa4a12b34740bf2c37de0e8f279277ec3d12e4"),
)


def jar_path(jar: Jar, site_packages: Path) -> Path:
    """Return the path from which the environment's Spark loads a jar."""
    return spark_home(site_packages) / "jars" / jar.file_name


def sha256(file: Path) -> str | None:
    """Return the SHA-256 of a file's content in hexadecimal; None if the file is missing."""
    if not file.exists():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def strays(site_packages: Path, jars: tuple[Jar, ...] = JARS) -> list[Path]:
    """Return the paths of Delta jars of other versions, which Spark would load beside the right ones."""
    folder = spark_home(site_packages) / "jars"
    right = {jar.file_name for jar in jars}
    return sorted(file for file in folder.glob("delta-s*.jar") if file.name not in right)


def faults(site_packages: Path, jars: tuple[Jar, ...] = JARS) -> list[str]:
    """Return one phrase per fault of Delta's jars among Spark's own."""
    wrong = []
    for jar in jars:
        found = sha256(jar_path(jar, site_packages))
        if found is None:
            wrong.append(f"{jar.file_name} is missing")
        elif found != jar.sha256:
            wrong.append(f"{jar.file_name} has SHA-256 {found}, expected {jar.sha256}")
    return wrong + [f"{stray.name} is not the pinned version" for stray in strays(site_packages, jars)]
