"""docs/architecture.md names files that exist, and the code keeps to its table of allowed imports."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "lib" / "etude"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

LIBRARIES = ("listening", "audio", "factors", "fusion", "ranking", "report")
SHARED = ("interactions", "tracks", "splits", "content", "vectors", "search", "fitting")
HELPERS = (
    "slots",
    "causes",
    "errors",
    "storage",
    "frames",
    "hashing",
    "logs",
    "machine",
    "pseudonym",
    "worker",
    "session",
    "scratch",
)

ALLOWED = {
    **{library: (library, *SHARED, "lake", "stages", "config", *HELPERS) for library in LIBRARIES},
    "comparison": (
        *("comparison", "fusion", "ranking", "pipeline", "arguments", *SHARED, "lake", "stages", "config", *HELPERS),
    ),
    **dict.fromkeys(SHARED, ("tracks", "lake", "config", *HELPERS)),
    "search": ("search",),
    "lake": ("lake", "stages", "config", *HELPERS),
    "stages": ("lake.tables",),
    "config": ("config", "errors", "storage"),
    "demo": ("demo", "config", *HELPERS),
}


def imported(file):
    """The modules of the package, below `etude`, that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from etude import storage` names a module; `from etude.errors import SettingsError` names none.
            names = [f"etude.{alias.name}" for alias in node.names] if node.module == "etude" else [node.module]
        else:
            continue
        yield from (name.removeprefix("etude.") for name in names if name.startswith("etude."))


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_what_it_may(part):
    files = [*(LIB / part).rglob("*.py")] if (LIB / part).is_dir() else [LIB / f"{part}.py"]
    assert files
    for file in files:
        for name in imported(file):
            assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[part]), f"{file}: etude.{name}"


OWN = {
    "ingest": "listening",
    "mel": "audio",
    "wmf": "factors",
    "blend": "factors",
    "train": "fusion",
    "topn": "ranking",
    "compare": "comparison",
}


@pytest.mark.parametrize("job", [*OWN, "report", "pipeline"])
def test_a_job_calls_its_own_stages_library_only(job):
    libraries = {name.partition(".")[0] for name in imported(ROOT / "jobs" / f"{job}.py")} & {*LIBRARIES, "comparison"}
    assert libraries == {OWN.get(job, "report")}


def test_the_named_files_exist():
    names = set(re.findall(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.md|\.yaml|/))`", PAGE))
    assert len(names) > 40
    places = (ROOT, LIB)
    assert [name for name in sorted(names) if not any((place / name).exists() for place in places)] == []
