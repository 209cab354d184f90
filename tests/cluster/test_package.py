"""Run the lines of docs/cluster.md on executors that have nothing but what these lines ship."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from standalone import standalone

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
RUN = ["evaluation.protocol=none", "--run-id", "r", "--batch-date", "2026-01-31"]


def lines(section: str) -> str:
    """The commands of a section of the page."""
    found = re.search(rf"^##+ {section}$.*?^```sh$(.*?)^```$", PAGE, re.M | re.S)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("part", "sections", "jobs"),
    [("core", ("Standalone",), ("ingest", "mel", "wmf", "topn")), ("train", ("Standalone", "Training"), ("train",))],
)
def test_the_documented_lines_need_nothing_on_the_executors(part, sections, jobs, corpus, tmp_path):
    for each in dict.fromkeys(("core", part)):
        subprocess.run(["make", "package", f"PART={each}"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    lake = tmp_path / "lake"
    here = shlex.join([*corpus.settings(lake), *RUN])
    script = "".join(map(lines, sections)).replace("--config conf/site.yaml", here)
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYSPARK_PYTHON")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with standalone(tmp_path / "cluster", workers=2, cores=1, memory="3g") as cluster:
        script = script.replace("spark://master:7077", cluster.master)
        assert "master:7077" not in script
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=ROOT,
            env={**outside, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        environments = [*(tmp_path / "cluster").glob("worker-*/*/*/environment/bin/python")]
    told = {line["job"]: line for line in map(json.loads, re.findall(r'^\{"job".*$', done.stdout, re.M))}
    assert done.returncode == 0, (told, done.stdout[-2000:], done.stderr[-2000:])
    assert {job: told[job]["status"] for job in jobs} == dict.fromkeys(jobs, "succeeded")
    assert told["mel"]["rows"]["crops_computed"] > 0
    assert told["wmf"]["engine"] == "barrier"
    assert len(environments) >= 2
