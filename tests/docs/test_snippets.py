"""Every snippet of docs/querying.md runs, on a small lake in the place of the demo's."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from etude.cli.main import main
from etude.lake import Lake, views

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "querying.md"
DEMO = "build/demo/lake"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def lake_copy(small_lake, tmp_path_factory):
    """A copy, since a session makes its checkpoint folder in the lake."""
    return shutil.copytree(small_lake, tmp_path_factory.mktemp("docs") / "lake")


@pytest.mark.parametrize("number", range(len(blocks("sql"))))
def test_sql(number, spark, small_lake):
    query = blocks("sql")[number]
    rows = views.query(spark, str(small_lake), query).collect()
    assert rows, f"no rows from:\n{query}"


SPARK_FREE = [code for code in blocks("python") if "spark" not in code]


@pytest.fixture(scope="module")
def evaluation_served(small_lake, tmp_path_factory):
    """A copy in which the run that is served isn't the one with the largest run_id."""
    root = shutil.copytree(small_lake, tmp_path_factory.mktemp("served") / "lake")
    lake = Lake(str(root))
    (first,) = lake.look("releases")
    second = first | {"release": 2, "previous": 1, "run_ids": dict.fromkeys(dict(first["run_ids"]), "eval")}
    lake.replace("releases", [first, second])
    return root


@pytest.mark.parametrize("number", range(len(SPARK_FREE)))
def test_python_without_spark(number, evaluation_served):
    names = {}
    exec(compile(SPARK_FREE[number].replace(DEMO, str(evaluation_served)), str(PAGE), "exec"), names)
    frames = [names[name] for name in ("first", "failed", "matrix", "best", "frame") if name in names]
    assert frames
    assert all(len(frame) > 0 for frame in frames)
    for name in ("first", "best", "factors"):
        if name in names:
            assert set(names[name]["run_id"]) == {"eval"}, f"{name} holds rows that are not served"


def test_python_with_spark(spark, lake_copy):
    names = {}
    for code in (code for code in blocks("python") if "spark" in code):
        exec(compile(code.replace(DEMO, str(lake_copy)), str(PAGE), "exec"), names)
    assert names["spark"] is spark or names["spark"].sparkContext is spark.sparkContext
    assert names["lake"].root.endswith("lake")


def commands():
    """The `etude` commands of the page, redirections left out."""
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line.partition(" > ")[0] if line.rstrip().endswith(".csv") else line)


@pytest.mark.parametrize("words", [words for words in commands() if words[1] != "sql"])
def test_commands_without_spark(words, small_lake, capsys):
    assert words[0] == "etude"
    assert main([word.replace(DEMO, str(small_lake)) for word in words[1:]]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", [words for words in commands() if words[1] == "sql"])
def test_queries_of_the_commands(words, spark, small_lake):
    assert views.query(spark, str(small_lake), words[2]).count() > 0


PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page):
    for link, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8")):
        target = page.parent / link if link else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{link}#{anchor}"
