"""What jobs leave beside rows: permissions by the umask, and no temporary files, even after a kill."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from killing import Job

from etude.lake import ledger

pytestmark = pytest.mark.slow

UMASK = 0o027
KEPT = f"etude-kernels-{os.getuid()}"
"""Machine code for later runs."""


@pytest.fixture(scope="module")
def killed(small_lake, submit_command, tmp_path_factory) -> Job:
    """Kill a wmf, whose temporary files lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("left")
    root = shutil.copytree(small_lake, folder / "lake")
    arguments = [f"lake.root={root}", "--run-id", "killed", "--batch-date", "2026-01-31", "wmf.rank=2"]
    job = Job(
        *("wmf", root, [*arguments, "spark.small_input_mb=0"], "killed", "2026-01-31.none.wmf"),
        reached=lambda lake: False,
        too_late=lambda lake: ledger.graph(lake).succeeded("wmf", "killed") is not None,
        pause="etude.splits:split_interactions",
    )
    temporary(job).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(job).items():
            patch.setenv(name, value)
        job.kill(submit_command)
    return job


def temporary(job: Job) -> Path:
    return job.root.with_name("tmp")


def environment(job: Job) -> dict[str, str]:
    """Return the variables by which Python and Java put temporary files there."""
    return {"TMPDIR": str(temporary(job)), "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={temporary(job)}"}


@pytest.fixture(scope="module")
def after(killed, submit_all):
    """Run two jobs after it under a umask: one that writes through Spark, and one through deltalake."""
    left = [each.name for each in temporary(killed).iterdir()]
    before = os.umask(UMASK)
    try:
        arguments = [*killed.arguments[:-1], "--run-id", "small"]
        done = submit_all(killed.root, [["wmf", *killed.arguments], ["wmf", *arguments]], env=environment(killed))
    finally:
        os.umask(before)
    assert [line["status"] for line in done.lines] == ["succeeded"] * 2, done.said[-3000:]
    return left


def test_a_killed_job_leaves_one_folder(after):
    assert [name[:10] for name in after if name != KEPT] == ["etude-run-"]


def test_the_next_job_leaves_nothing_of_it_and_nothing_of_its_own(killed, after):
    assert [each.name for each in temporary(killed).iterdir() if each.name != KEPT] == []


def test_every_new_file_has_the_permissions_of_the_umask(killed, after):
    known = {each.relative_to(killed.left) for each in killed.left.rglob("*")}
    new = [each for each in killed.root.rglob("*") if each.relative_to(killed.root) not in known]
    assert {each.suffix for each in new} >= {".parquet", ".json", ".crc"}
    for each in new:
        allowed = 0o777 if each.is_dir() else 0o666
        assert stat.S_IMODE(each.stat().st_mode) == allowed & ~UMASK, each
