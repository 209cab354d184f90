"""Ranks learn which GPUs Spark has assigned to them. The GPUs are pretended: only their number is printed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from standalone import standalone

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
DISCOVERY = ROOT / "conf" / "gpu-discovery.sh"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A worker of two slots that says it has the GPUs 0 and 1."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    resource = "-Dspark.worker.resource.gpu"
    monkeypatch.setenv("SPARK_WORKER_OPTS", f"{resource}.amount=2 {resource}.discoveryScript={DISCOVERY}")
    with standalone(tmp_path / "cluster", workers=1, cores=2) as running:
        yield running


@pytest.mark.usefixtures("needs_horovod")
def test_each_rank_is_told_a_gpu_of_its_own(cluster, tmp_path):
    resources = ["spark.executor.resource.gpu.amount=2", "spark.task.resource.gpu.amount=1"]
    resources.append(f"spark.executor.resource.gpu.discoveryScript={DISCOVERY}")
    given = [word for each in resources for word in ("--conf", each)]
    script = str(Path(__file__).with_name("gpu_ranks.py"))
    command = ["spark-submit", *cluster.submit_arguments(), *given, script, str(tmp_path / "lake")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for ranks in found.values():
        assert [rank[:3] for rank in ranks] == [[0, 0, 2], [1, 1, 2]]
        assert sorted(gpu for rank in ranks for gpu in rank[3]) == ["0", "1"]
