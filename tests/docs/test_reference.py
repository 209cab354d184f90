"""What is generated from the code is current, complete, and means what the code means."""

from pathlib import Path

import pytest

from etude import reference
from etude.config import Settings, load_settings
from etude.config.non_defaults import flatten, non_defaults
from etude.lake.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
FILES = reference.files()


@pytest.mark.parametrize("name", FILES)
def test_a_generated_file_is_current(name):
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name], "run `make docs`"


def test_the_written_defaults_are_the_defaults(tmp_path):
    file = tmp_path / "etude.yaml"
    file.write_text(FILES["conf/etude.yaml"], encoding="utf-8")
    assert load_settings([file]) == Settings()


def test_every_setting_is_in_the_yaml_and_explained_on_the_page():
    keys = dict(flatten(Settings().model_dump(mode="json")))
    for key in keys:
        assert f"| `{key}` | " in FILES["docs/settings.md"], key
    rows = [line for line in FILES["docs/settings.md"].splitlines() if line.startswith("| `")]
    unexplained = [row for row in rows if row.endswith("|  |")]
    assert unexplained == []


def test_every_column_is_on_the_page_of_tables():
    for table in TABLES.values():
        section = FILES["docs/tables.md"].split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        for column in table.columns:
            assert f"| `{column.name}` | {column.type} |" in section
            assert column.comment, f"{table.name}.{column.name} has no comment"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "whole number ≥ 1"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 0.5}, "number ≥ 0, < 0.5"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "whole number ≥ 1 or null"),
        ({"enum": ["a", "b"], "type": "string"}, "a or b"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
    ],
)
def test_what_is_allowed_in_words(schema, words):
    assert reference.allowed(schema) == words


def test_check_names_what_is_not_current(tmp_path, capsys):
    assert reference.main(["--check", str(tmp_path)]) == 1
    assert "docs/tables.md: not current" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main(["--check", str(tmp_path)]) == 0


def test_settings_that_differ_are_told_apart():
    raw = Settings().model_dump(mode="json")
    raw["wmf"]["rank"] = 7
    raw["gone"] = {"long": 1}
    assert non_defaults(raw) == [("wmf.rank", 7, 100), ("gone.long", 1, None)]
