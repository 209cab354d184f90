"""Read the stamp in .venv that records a complete environment, and judge whether it still holds."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

from etude.doctor import toolchain
from etude.doctor.delta import JARS, jar_path
from etude.doctor.pins import GROUPS, ROOT, requirements_file
from etude.doctor.spark import spark_home
from tools.setup import horovod, spark_conf, venv

_FORMAT = "1"  # raise it if the set-up starts to do something that old environments lack


def is_complete(root: Path = ROOT) -> bool:
    """Return whether the stamp has the current key and the files it relies on exist; takes milliseconds."""
    stamp = read_stamp(root)
    site = venv.site_packages(root)
    return (
        stamp.get("key") == setup_key(root)
        and venv.python(root).exists()
        and Path(stamp["java_home"], "bin", "java").exists()
        and all(jar_path(jar, site).exists() for jar in JARS)
        and all((spark_home(site) / "conf" / name).exists() for name in (*spark_conf.LINKED, "spark-env.sh"))
        and (stamp["horovod"] == "installed" or stamp["horovod"] == why_no_horovod(root))
    )


def setup_key(root: Path = ROOT) -> str:
    """Return a hash that changes if the environment needs a new set-up.

    That is after new pins, a new Python, a move, or if Horovod is to be built for other operations on GPUs.
    """
    digest = hashlib.sha256()
    wheels = horovod.wheel_folder(root).name
    for part in (_FORMAT, str(root), sys.platform, platform.machine(), horovod.python_tag(), wheels):
        digest.update(part.encode() + b"\0")
    for file in (root / "constraints.txt", *(requirements_file(group, root) for group in GROUPS), root / "setup.py"):
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def stamp_file(root: Path = ROOT) -> Path:
    """Return the stamp's path."""
    return venv.folder(root) / "etude-setup.json"


def read_stamp(root: Path = ROOT) -> dict[str, Any]:
    """Return the stamp; empty if it is missing, unreadable or incomplete."""
    try:
        stamp = json.loads(stamp_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and {"key", "java_home", "horovod"} <= stamp.keys() else {}


def write_stamp(java_home: Path, horovod_state: str, root: Path = ROOT) -> None:
    """Record a complete environment."""
    stamp = {"key": setup_key(root), "java_home": str(java_home), "horovod": horovod_state}
    stamp_file(root).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def why_no_horovod(root: Path = ROOT) -> str:
    """Return a reason that changes if another attempt makes sense: a new or different compiler, or a wheel."""
    if horovod.kept_wheel(root):
        return "a wheel is there"
    return f"lacking {toolchain.lacking()}, compiler {toolchain.compiler()}"
