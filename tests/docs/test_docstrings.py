"""Examples in docstrings hold."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[2] / "lib"

MODULES = [
    ".".join(file.relative_to(LIB).with_suffix("").parts)
    for file in sorted((LIB / "etude").rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_hold(module):
    found = doctest.testmod(import_module(module))
    assert found.attempted and not found.failed


def test_there_are_examples():
    assert "etude.splits" in MODULES
