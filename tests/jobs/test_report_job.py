"""The report job: to the page, and where there is nothing to report. Its spark-submit: test_real_chain.py."""

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


def run(spark, lake, *overrides):
    settings = load_settings((), [f"lake.root={lake}", *overrides])
    outcome = execute("report", report.run, spark, Arguments(settings, date(2026, 1, 31), "r"), job_logger())
    return outcome.exit_code, json.loads(outcome.line)


@pytest.mark.slow
def test_the_job_writes_the_page_and_says_where(spark, small_lake, tmp_path):
    lake = shutil.copytree(small_lake, tmp_path / "lake")
    page = tmp_path / "out" / "report.html"
    code, line = run(spark, lake, f"report.path={page}", "report.note=Made up.", "report.k=5")
    assert (code, line["status"], line["report"]) == (0, "succeeded", f"file://{page}")
    assert (line["evaluation_run_id"], line["production_run_id"]) == ("eval", "prod")
    html = page.read_text(encoding="utf-8")
    assert line["rows"]["bytes"] == len(html.encode())
    assert "Made up." in html
    assert "Study no. 10" in html


def test_without_a_run_to_speak_of_it_exits_3(spark, tmp_path):
    code, line = run(spark, tmp_path / "none")
    assert code == 3
    assert line["error"].startswith("no succeeded run")
