"""The pins, and the key that tells when the environment has to be set up again."""

import ast
import re
import sys
from pathlib import Path

import pytest

from etude.environment import pins


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two direct dependencies and one that they bring along."""
    (tmp_path / "requirements").mkdir()
    for group in pins.GROUPS:
        pins.requirements_file(group, tmp_path).write_text("# why\n")
    pins.requirements_file("core", tmp_path).write_text("Py_Arrow>=14,<15  # batches\nnumpy  # numbers\n")
    (tmp_path / "constraints.txt").write_text("# closure\npy-arrow==14.0.2\nnumpy==1.26.4\nsix==1.17.0\n")
    (tmp_path / "setup.py").write_text("")
    return tmp_path


def test_direct_dependencies_are_names_without_versions_and_reasons(project: Path) -> None:
    assert pins.direct_dependencies(project) == ["py-arrow", "numpy"]


def test_nothing_is_unmet_where_all_is_as_pinned(project: Path) -> None:
    assert pins.unmet({"py-arrow": "14.0.2", "numpy": "1.26.4", "unheard-of": "1"}, project) == []


def test_unmet_names_what_is_missing_and_what_has_another_version(project: Path) -> None:
    assert pins.unmet({"numpy": "2.0.0", "six": "1.16.0"}, project) == [
        "py-arrow is not installed",
        "numpy 2.0.0 instead of 1.26.4",
        "six 1.16.0 instead of 1.17.0",
    ]


def test_the_key_is_stable_and_follows_every_file_of_pins(project: Path) -> None:
    keys = [pins.setup_key(project)]
    assert pins.setup_key(project) == keys[0]
    for name in ("constraints.txt", "requirements/core.txt", "requirements/dev.txt", "setup.py"):
        with (project / name).open("a") as stream:
            stream.write("# changed\n")
        keys.append(pins.setup_key(project))
    assert len(set(keys)) == len(keys)


def test_the_key_follows_the_python_version_and_the_place(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pins.setup_key(project)
    moved = project.rename(project.with_name("moved"))
    assert pins.setup_key(moved) != here
    monkeypatch.setattr(pins, "python_tag", lambda: "cp312")
    assert pins.setup_key(moved.rename(project)) != here


def test_every_direct_dependency_is_pinned_and_has_a_reason() -> None:
    pinned = pins.constraints()
    assert [name for name in pins.direct_dependencies() if name not in pinned] == []
    for group in pins.GROUPS:
        lines = pins.requirements_file(group).read_text().splitlines()
        assert [line for line in lines if line and not re.search(r"#\s*\S+", line)] == []


def test_everything_pinned_is_one_exact_version() -> None:
    lines = [line for line in (pins.ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert len(lines) == len(pins.constraints())


MODULE_OF = {
    "delta-spark": "delta",
    "jinja2": "jinja2",
    "omegaconf": "omegaconf",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def test_the_code_imports_nothing_that_is_not_a_direct_dependency() -> None:
    allowed = {MODULE_OF.get(name, name) for name in pins.direct_dependencies()} | {"etude", "horovod", "jobs"}
    allowed |= sys.stdlib_module_names
    siblings = {file.stem for file in (pins.ROOT / "jobs").glob("*.py")}
    found = {}
    for folder in ("lib", "jobs"):
        for file in (pins.ROOT / folder).rglob("*.py"):
            for module in _imports(file) - allowed - siblings:
                found[module] = file.name
    assert found == {}


def _imports(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return modules


def test_the_setup_itself_imports_nothing_but_the_standard_library() -> None:
    """It runs before anything is installed; the two others run in the environment."""
    for file in (pins.ROOT / "lib" / "etude" / "environment").glob("*.py"):
        if file.name not in ("live.py", "truststore.py"):
            assert _imports(file) <= sys.stdlib_module_names | {"etude"}, file.name
