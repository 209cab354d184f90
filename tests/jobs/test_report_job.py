"""The report job from spark-submit to the page."""

import json
import shutil

import pytest

pytestmark = pytest.mark.slow


def test_the_job_writes_the_page_and_says_where(submit, small_lake, tmp_path):
    lake = shutil.copytree(small_lake, tmp_path / "lake")
    page = tmp_path / "out" / "report.html"
    done = submit(
        "report", "--run-id", "r", f"lake.root={lake}", f"report.path={page}", "report.note=Made up.", "report.k=5"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["status"], line["report"]) == ("succeeded", f"file://{page}")
    assert (line["evaluation_run_id"], line["production_run_id"]) == ("eval", "prod")
    html = page.read_text(encoding="utf-8")
    assert line["rows"]["bytes"] == len(html.encode())
    assert "Made up." in html
    assert "Study no. 10" in html


def test_without_a_run_to_speak_of_it_exits_3(submit, tmp_path):
    done = submit("report", f"lake.root={tmp_path / 'none'}")
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1])["error"].startswith("no succeeded run")
