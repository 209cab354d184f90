"""The five jobs on a standalone cluster of two workers: tables as in local mode, also when an executor dies."""

from __future__ import annotations

import shutil

import pytest
from lakes import FITTED, assert_equal
from standalone import standalone

pytestmark = pytest.mark.cluster

STRICT = ["evaluation.protocol=strict", "--run-id", "r", "--batch-date", "2026-01-31"]
JOBS = ("ingest", "mel", "wmf", "train", "topn")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with standalone(tmp_path_factory.mktemp("cluster"), workers=2, cores=1, memory="3g") as running:
        yield running


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


def test_wmf_survives_kill_9_of_an_executor(cluster, corpus, local, fit_with_a_kill, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(local, lake, ignore=shutil.ignore_patterns(*FITTED))
    fit_with_a_kill(cluster, [*corpus.settings(lake), *STRICT], tmp_path)
    assert_equal(lake, local, FITTED)
