"""Test that wmf on a standalone cluster gives local mode's tables although an executor is killed."""

from __future__ import annotations

import shutil

import pytest
from standalone import standalone

from lakes import FITTED, assert_equal

pytestmark = pytest.mark.cluster


# Enough iterations that the kill comes in the middle.
ENGINES = {"blocked": 30, "barrier": 3000}


@pytest.mark.parametrize("engine", ENGINES)
def test_wmf_survives_kill_9_of_an_executor(corpus, run, fit_with_a_kill, tmp_path, engine):
    options = ["evaluation.protocol=strict", "--run-id", "r", "--batch-date", "2026-01-31"]
    fit = [*options, f"wmf.engine={engine}", f"wmf.iterations={ENGINES[engine]}", "wmf.checkpoint_interval=100"]
    expected, found = tmp_path / "local" / "lake", tmp_path / "remote" / "lake"
    expected.parent.mkdir()
    run(["--master", "local[2]"], "ingest", [*corpus.settings(expected), *options], expected.parent)
    shutil.copytree(expected, found)
    run(["--master", "local[2]"], "wmf", [*corpus.settings(expected), *fit], expected.parent)
    with standalone(tmp_path / "cluster", workers=2, cores=1, memory="3g") as cluster:
        fit_with_a_kill(cluster, [*corpus.settings(found), *fit], found.parent)
    assert_equal(found, expected, FITTED)
    log = (found.parent / "wmf.log").read_text()
    assert engine != "barrier" or "ranks=2 lost a rank; the fit goes on after iteration=" in log
