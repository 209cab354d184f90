"""Put Delta's two jars among Spark's own jars, fetched once and kept in build/ivy."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from etude.doctor.delta import JARS, Jar, jar_path, sha256, strays
from etude.doctor.pins import ROOT
from tools.setup.errors import SetupError

_IN_SPARK_ALREADY = "org.antlr:antlr4-runtime"


def install(
    site_packages: Path,
    spark_submit: Path,
    environ: Mapping[str, str] = os.environ,
    root: Path = ROOT,
    jars: tuple[Jar, ...] = JARS,
) -> None:
    """Copy Delta's jars from build/ivy to Spark's own; Spark's resolver fetches them if build/ivy lacks them.

    That resolver honours the user's Maven and Ivy settings; ETUDE_IVY_SETTINGS names an ivysettings.xml for a mirror.

    Raises:
        SetupError: the jars can't be fetched, or a fetched jar's SHA-256 differs from its pin.
    """
    for stray in strays(site_packages, jars):
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
            raise SetupError(
                f"the fetched {jar.coordinates} has SHA-256 {arrived}, expected {jar.sha256}; it is not installed. "
                "Check the mirror or proxy that served it, then run `make setup` again"
            )
        new = jar_path(jar, site_packages).with_suffix(".new")
        shutil.copyfile(fetched, new)
        new.replace(jar_path(jar, site_packages))


def _fetch(jars: tuple[Jar, ...], cache: Path, spark_submit: Path, environ: Mapping[str, str]) -> None:
    # The resolver would take an interrupted or wrong download for the jar.
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
            f"Delta's jars couldn't be fetched; the end of spark-submit's output:\n{told[-2000:]}\n"
            "For a mirror, name its ivysettings.xml in ETUDE_IVY_SETTINGS; proxy and trust store: JAVA_TOOL_OPTIONS."
        )
