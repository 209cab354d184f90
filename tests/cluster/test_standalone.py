"""The five jobs on a standalone cluster of two workers: tables as in local mode, also when an executor dies."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from lakes import assert_equal
from standalone import standalone

pytestmark = pytest.mark.cluster

STRICT = ["evaluation.protocol=strict", "--run-id", "r", "--batch-date", "2026-01-31"]
JOBS = ("ingest", "mel", "wmf", "train", "topn")
# Into the sweeps: reading the interactions and cutting the blocks take about that long.
KILL_AFTER_S = 4.0
FITTED = ["splits", "user_factors", "track_factors"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with standalone(tmp_path_factory.mktemp("cluster"), workers=2, cores=1, memory="3g") as running:
        yield running


@pytest.fixture(scope="module")
def run(start):
    def job(where, name: str, arguments: list[str], folder: Path) -> dict:
        log = folder / f"{name}.log"
        status = start(where, name, arguments, log).wait(timeout=600)
        assert status == 0, f"{name} ended with {status}:\n{log.read_text()[-3000:]}"
        return json_line(log)

    return job


@pytest.fixture(scope="module")
def local(corpus, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    for name in JOBS:
        run(["--master", "local[2]"], name, [*corpus.settings(folder / "lake"), *STRICT], folder)
    return folder / "lake"


@pytest.fixture(scope="module")
def remote(cluster, corpus, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    lines = {}
    for name in JOBS:
        lines[name] = run(cluster.submit_arguments(), name, [*corpus.settings(folder / "lake"), *STRICT], folder)
    return folder / "lake", lines


def test_the_tables_equal_those_of_local_mode(local, remote):
    assert_equal(remote[0], local, ["plays", "rejects", "tracks", "users", "interactions", "mel", *FITTED])


def test_the_network_is_trained_by_two_ranks_and_its_predictions_agree(local, remote):
    lake, lines = remote
    assert lines["train"]["distribution"] in ("horovod", "torch")
    assert "ranks=2" in (lake.parent / "train.log").read_text()
    assert_equal(lake, local, ["examples", "predicted_factors"])


def test_the_lists_equal_those_of_local_mode(local, remote):
    assert_equal(remote[0], local, ["recommendations"])


def test_wmf_survives_kill_9_of_an_executor(cluster, corpus, local, start, run, tmp_path):
    lake = tmp_path / "lake"
    arguments = [*corpus.settings(lake), *STRICT]
    run(cluster.submit_arguments(), "ingest", arguments, tmp_path)
    log = tmp_path / "wmf.log"
    wmf = start(cluster.submit_arguments(), "wmf", arguments, log)
    wait_for("engine=blocked", wmf, log)
    time.sleep(KILL_AFTER_S)
    cluster.executors()[0].kill()
    assert wmf.wait(timeout=600) == 0, log.read_text()[-3000:]
    assert json_line(log)["status"] == "succeeded"
    assert "Lost executor" in log.with_suffix(".err").read_text(), "the kill came too late to test anything"
    assert_equal(lake, local, FITTED)


def wait_for(words: str, process, log: Path) -> None:
    limit = time.monotonic() + 300
    while words not in log.read_text(errors="replace"):
        assert process.poll() is None, f"ended before {words!r}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < limit, f"{words!r} was not seen within 5 minutes"
        time.sleep(0.05)


def json_line(log: Path) -> dict:
    return json.loads(log.read_text().strip().splitlines()[-1])
