"""Delta's two jars: which ones, where they lie, and how they get there once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from etude.environment.pins import ROOT, SetupError
from etude.environment.sparkconf import spark_home


@dataclass(frozen=True)
class Jar:
    """A Maven artifact and the SHA-256 of its one right content."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """As `spark-submit --packages` takes it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Name of the file among Spark's own jars."""
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
_IN_SPARK_ALREADY = "org.antlr:antlr4-runtime"


def jar_path(jar: Jar, site_packages: Path) -> Path:
    """Where the environment's Spark finds a jar."""
    return spark_home(site_packages) / "jars" / jar.file_name


def sha256(file: Path) -> str | None:
    """Hash of a file's content; None where there is no file."""
    if not file.exists():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def faults(site_packages: Path, jars: tuple[Jar, ...] = JARS) -> list[str]:
    """What is wrong with Delta's jars among Spark's own, a phrase each."""
    wrong = []
    for jar in jars:
        found = sha256(jar_path(jar, site_packages))
        if found is None:
            wrong.append(f"{jar.file_name} is missing")
        elif found != jar.sha256:
            wrong.append(f"{jar.file_name} has another content than it should")
    return wrong + [f"{stray.name} is there beside it" for stray in _strays(site_packages, jars)]


def install(
    site_packages: Path,
    spark_submit: Path,
    environ: Mapping[str, str] = os.environ,
    root: Path = ROOT,
    jars: tuple[Jar, ...] = JARS,
) -> None:
    """Put Delta's jars among Spark's own, from build/ivy where they are, else fetched by Spark's own resolver.

    That resolver honours the user's Maven and Ivy settings; ETUDE_IVY_SETTINGS names an ivysettings.xml for a mirror.

    Raises:
        SetupError: the jars can't be fetched, or what arrived isn't what it should be.
    """
    for stray in _strays(site_packages, jars):
        stray.unlink()
    cache = root / "build" / "ivy"
    for jar in jars:
        if sha256(jar_path(jar, site_packages)) == jar.sha256:
            continue
        fetched = cache / "jars" / f"{jar.group}_{jar.file_name}"
        if sha256(fetched) != jar.sha256:
            _fetch(jars, cache, spark_submit, environ)
        arrived = sha256(fetched)
        if arrived != jar.sha256:
            fetched.unlink(missing_ok=True)
            raise SetupError(f"{jar.coordinates} arrived with SHA-256 {arrived}, expected {jar.sha256}: not used")
        new = jar_path(jar, site_packages).with_suffix(".new")
        shutil.copyfile(fetched, new)
        new.replace(jar_path(jar, site_packages))


def _fetch(jars: tuple[Jar, ...], cache: Path, spark_submit: Path, environ: Mapping[str, str]) -> None:
    # What an interrupted or wrong download left would be taken for the jar.
    shutil.rmtree(cache, ignore_errors=True)
    command = [str(spark_submit), "--master", "local[1]", "--conf", f"spark.jars.ivy={cache}"]
    if environ.get("ETUDE_IVY_SETTINGS"):
        command += ["--conf", f"spark.jars.ivySettings={environ['ETUDE_IVY_SETTINGS']}"]
    command += ["--packages", ",".join(jar.coordinates for jar in jars), "--exclude-packages", _IN_SPARK_ALREADY]
    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder, "nothing.py")
        nothing.touch()
        done = subprocess.run(
            [*command, str(nothing)],
            env={**environ, "SPARK_LOCAL_IP": "127.0.0.1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode != 0:
        told = (done.stdout + done.stderr).partition("\nException in thread")[0].strip()
        raise SetupError(
            f"Delta's jars couldn't be fetched; spark-submit's last words:\n{told[-2000:]}\n"
            "For a mirror, name its ivysettings.xml in ETUDE_IVY_SETTINGS; proxy and trust store: JAVA_TOOL_OPTIONS."
        )


def _strays(site_packages: Path, jars: tuple[Jar, ...]) -> list[Path]:
    """Delta jars of other versions, which Spark would load beside the right ones."""
    folder = spark_home(site_packages) / "jars"
    right = {jar.file_name for jar in jars}
    return sorted(file for file in folder.glob("delta-s*.jar") if file.name not in right)
