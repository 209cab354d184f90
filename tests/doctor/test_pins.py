"""Test the reading of the pins."""

from pathlib import Path

import pytest

from etude.doctor import pins


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with two direct dependencies and one indirect dependency."""
    (tmp_path / "requirements").mkdir()
    for group in pins.GROUPS:
        pins.requirements_file(group, tmp_path).write_text("# why\n")
    pins.requirements_file("core", tmp_path).write_text("Py_Arrow>=14,<15  # batches\nnumpy  # numbers\n")
    (tmp_path / "constraints.txt").write_text("# closure\npy-arrow==14.0.2\nnumpy==1.26.4\nsix==1.17.0\n")
    return tmp_path


def test_direct_dependencies_are_names_without_versions_and_reasons(project: Path) -> None:
    assert pins.direct_dependencies(project) == ["py-arrow", "numpy"]


def test_nothing_is_unmet_if_all_versions_are_as_pinned(project: Path) -> None:
    assert pins.unmet({"py-arrow": "14.0.2", "numpy": "1.26.4", "unheard-of": "1"}, project) == []


def test_unmet_names_missing_packages_and_other_versions(project: Path) -> None:
    assert pins.unmet({"numpy": "2.0.0", "six": "1.16.0"}, project) == [
        "py-arrow is not installed",
        "numpy 2.0.0 instead of 1.26.4",
        "six 1.16.0 instead of 1.17.0",
    ]
