"""The report job: from spark-submit to the page, and in this process where there is nothing to report."""

import json
import shutil
import sys
from datetime import date
from pathlib import Path

import pytest

from etude.arguments import Arguments
from etude.config import load_settings
from etude.job import execute
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import report


@pytest.mark.slow
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


def test_without_a_run_to_speak_of_it_exits_3(spark, tmp_path):
    settings = load_settings((), [f"lake.root={tmp_path / 'none'}"])
    outcome = execute("report", report.run, spark, Arguments(settings, date(2026, 1, 31), "r"), job_logger())
    assert outcome.exit_code == 3
    assert json.loads(outcome.line)["error"].startswith("no succeeded run")
