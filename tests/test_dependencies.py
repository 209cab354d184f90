"""Test that the code imports declared dependencies only, and that each is pinned and has a reason."""

import ast
import re
import sys
from pathlib import Path

from etude.doctor import pins

MODULE_OF = {
    "delta-spark": "delta",
    "jinja2": "jinja2",
    "omegaconf": "omegaconf",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def test_every_direct_dependency_is_pinned_and_has_a_reason() -> None:
    pinned = pins.constraints()
    assert [name for name in pins.direct_dependencies() if name not in pinned] == []
    for group in pins.GROUPS:
        lines = pins.requirements_file(group).read_text().splitlines()
        assert [line for line in lines if line and not re.search(r"#\s*\S+", line)] == []


def test_every_pin_is_one_exact_version() -> None:
    lines = [line for line in (pins.ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert len(lines) == len(pins.constraints())


def test_package_and_jobs_import_direct_dependencies_only() -> None:
    """`tools` is not among them: an installed package doesn't contain it."""
    allowed = {MODULE_OF.get(name, name) for name in pins.direct_dependencies()} | {"etude", "horovod", "jobs"}
    allowed |= sys.stdlib_module_names
    siblings = {file.stem for file in (pins.ROOT / "jobs").glob("*.py")}
    found = {}
    for folder in ("lib", "jobs"):
        for file in (pins.ROOT / folder).rglob("*.py"):
            for name in _imports(file):
                module = name.partition(".")[0]
                if module not in allowed | siblings:
                    found[module] = file.name
    assert found == {}


def test_the_setup_imports_the_standard_library_and_the_doctor_only() -> None:
    """It runs before any package is installed; `live` and `truststore` run in the environment."""
    doctor = pins.ROOT / "lib" / "etude" / "doctor"
    files = [*(pins.ROOT / "tools" / "setup").glob("*.py"), *doctor.glob("*.py")]
    for file in files:
        if file.name in ("live.py", "truststore.py"):
            continue
        names = _imports(file)
        assert "etude.doctor.live" not in names, file
        others = {name for name in names if not re.match(r"(etude\.doctor|tools\.setup)\b", name)}
        assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names, file


def _imports(file: Path) -> set[str]:
    """Return the full names of the modules, or of the names in them, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
