"""Test that five jobs on a cluster of two workers give local mode's tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from standalone import standalone

from lakes import FITTED, assert_equal

pytestmark = pytest.mark.cluster

STRICT = ["evaluation.protocol=strict", "--run-id", "r", "--batch-date", "2026-01-31"]
JOBS = ("ingest", "mel", "wmf", "train", "topn")
RANK = "horovod.spark.task.gloo_exec_fn"
"""Function that Horovod starts for each rank."""


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
    """Return the lake, the jobs' JSON lines, and the command lines of most ranks seen in executors at one time."""
    folder = tmp_path_factory.mktemp("remote")
    lines, ranks = {}, []

    def watch():
        seen = [command for command in cluster.commands_of_executors() if RANK in command]
        ranks[:] = max(ranks, seen, key=len)

    for name in JOBS:
        arguments = [*corpus.settings(folder / "lake"), *STRICT]
        lines[name] = run(cluster.submit_arguments(), name, arguments, folder, watch if name == "train" else None)
    return folder / "lake", lines, ranks


def test_the_tables_equal_those_of_local_mode(local, remote):
    assert_equal(remote[0], local, ["plays", "rejects", "tracks", "users", "interactions", "mel", *FITTED])


def test_the_networks_predictions_equal_those_of_local_mode(local, remote):
    """The regression's equations are solved step by step: a fit's seventh digit reaches its predictions' fifth."""
    assert_equal(remote[0], local, ["examples"])
    assert_equal(remote[0], local, ["predicted_factors"], within=1e-3)


def test_horovod_trains_by_two_ranks_in_the_executors(needs_horovod, cluster, remote):
    _, lines, ranks = remote
    assert lines["train"]["distribution"] == "horovod"
    assert len(ranks) >= 2  # a rank that is starting a process is listed twice
    assert all(str(cluster.executor_python) in command for command in ranks)


def test_the_lists_equal_those_of_local_mode(local, remote):
    """Tracks whose scores are equal but for such digits may change places."""
    keys = ["user_idx", "position"]
    found, wanted = (pl.read_delta(str(lake / "recommendations")).sort(keys) for lake in (remote[0], local))
    assert found[keys].equals(wanted[keys])
    assert (found["track_id"] == wanted["track_id"]).mean() > 0.99
    pairs = [set(zip(each["user_idx"], each["track_id"], strict=True)) for each in (found, wanted)]
    assert len(pairs[0] & pairs[1]) > 0.999 * len(pairs[1])
    assert np.abs(found["score"] - wanted["score"]).max() < 1e-3
