"""Pack what the executors of a cluster need besides Java, Spark and Python 3.11 (docs/cluster.md).

    python -m tools.package         for ingest, wmf, blend, mel, topn
    python -m tools.package train   for train too: with torch, Petastorm and Horovod

build/package then holds Delta's jars, and an archive for `spark-submit --archives` with a Python environment. Etude
itself isn't in it: each job ships its own package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from etude.doctor import pins
from etude.doctor.delta import JARS, jar_path
from etude.doctor.pins import ROOT, name_of, normalised
from tools.setup import horovod, venv
from tools.setup.errors import SetupError

DRIVER_ONLY = frozenset({"pyspark", "delta-spark", "py4j", "deltalake", "Jinja2", "MarkupSafe", "matplotlib"})
"""Core packages that no task imports, or that an executor's Spark brings."""
_GROUPS = {"core": ("core",), "train": ("core", "train")}


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Pack; return 0, 1 after a failure, 2 for an unknown part."""
    part = arguments[0] if arguments else "core"
    if part not in _GROUPS or len(arguments) > 1:
        print(f"package: there is no part {' '.join(arguments)}; expected core or train", file=sys.stderr)
        return 2
    begun = time.monotonic()
    try:
        archive = pack(part, root)
    except SetupError as error:
        print(f"package failed: {error}", file=sys.stderr)
        return 1
    size = archive.stat().st_size / 2**20
    print(f"package: {archive.relative_to(root)}, {size:,.0f} MB, in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 0


def pack(part: str, root: Path = ROOT) -> Path:
    """Copy Delta's jars, make an environment, and return its archive.

    Raises:
        SetupError: the environment can't be made.
    """
    folder = root / "build" / "package"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("delta-*.jar"):
        old.unlink()
    for jar in JARS:
        shutil.copyfile(jar_path(jar, venv.site_packages(root)), folder / jar.file_name)
    environment, archive = folder / part, folder / f"etude-{part}.tar.gz"
    shutil.rmtree(environment, ignore_errors=True)
    try:
        fill(environment, part, root)
        unfinished = archive.with_suffix(".new")
        with tarfile.open(unfinished, "w:gz", compresslevel=3) as packed:
            packed.add(environment, arcname=".")
        unfinished.replace(archive)
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    return archive


def fill(environment: Path, part: str, root: Path = ROOT) -> None:
    """Make a virtual environment with the pinned packages of a part.

    Raises:
        SetupError: pip or venv failed.
    """
    wanted = [line for group in _GROUPS[part] for line in requirements(group, root)]
    if part == "train":
        wheel = horovod.kept_wheel(root)
        if wheel is None and horovod.installed_for(venv.site_packages(root), root):
            raise SetupError(
                f"Horovod is installed, but its wheel isn't in {horovod.wheel_folder(root)} any more: `.venv/bin/pip "
                "uninstall horovod`, remove .venv/etude-setup.json and run `make setup`, which builds it again"
            )
        if wheel is None:
            print("package: without Horovod, as here; take train.distribution=torch", file=sys.stderr)
        wanted += [*horovod.RUN_NEEDS, *([str(wheel)] if wheel else [])]
    base = Path(sys.executable).resolve()  # not this environment's, which executors don't have
    pip = [str(environment / "bin" / "python"), "-m", "pip"]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "-c", str(root / "constraints.txt")]
    for command in (
        [str(base), "-m", "venv", str(environment)],
        [*install, *wanted],
        [*pip, "uninstall", "-qy", "pip"],
    ):
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
            raise SetupError(f"{' '.join(command[:4])} ... failed (see its messages above)")


def requirements(group: str, root: Path = ROOT) -> list[str]:
    """Return the requirements of a group that executors need."""
    left_out = set(map(normalised, DRIVER_ONLY))
    return [line for line in pins.requirements(group, root) if name_of(line) not in left_out]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
