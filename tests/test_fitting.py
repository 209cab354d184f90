"""Predictions meet the user factors of their own basis, and of no other."""

from datetime import date, datetime, timedelta, timezone

import pytest

from etude.errors import DataCheckError
from etude.fitting import blend_problem, misfit, outdated, split_version
from etude.lake.graph import RunGraph
from etude.lake.runs import ABSENT, Run

START = datetime(2026, 2, 1, tzinfo=timezone.utc)


def ran(job, run_id, hour, inputs=None, **upstream):
    at = START + timedelta(hours=hour)
    run = Run(run_id, job, date(2026, 1, 31), "none", at, ended_at=at, status="succeeded", inputs=inputs or {})
    run.upstream = {name: [value] for name, value in upstream.items()}
    return run


@pytest.fixture
def graph():
    return RunGraph(
        [
            ran("wmf", "fit", 1, {"interactions": 4}),
            ran("wmf", "fold", 2, {"interactions": ABSENT}, wmf="fit"),
            ran("wmf", "other", 1),
            ran("train", "net", 3, wmf="fit"),
            ran("wmf", "refit", 9),
            ran("train", "old", 3, wmf="refit"),
            ran("blend", "mix", 4, wmf="fit", train="net"),
        ]
    )


def test_predictions_fit_their_fit_and_what_extends_it(graph):
    assert misfit(graph, "net", "fit", ["fit"]) is None
    assert misfit(graph, "net", "fold", ["fit"]) is None
    assert "no common basis" in str(misfit(graph, "net", "other", ["fit"]))
    assert "no common basis" in str(misfit(graph, "net", "fit", ["fit", "other"]))


def test_a_network_of_a_fit_that_has_run_again_is_outdated(graph):
    assert outdated(graph, "net", "fold") is None
    assert "train run old was built on a run that has run again" in str(outdated(graph, "old", "fit"))


def test_the_split_is_that_of_the_version_that_the_fit_read(graph):
    assert split_version(graph, "fit") == 4
    with pytest.raises(DataCheckError, match="summed plays itself"):
        split_version(graph, "fold")


def test_a_blend_is_ranked_with_the_runs_that_it_was_built_on_only(graph):
    assert blend_problem(graph, "mix", {"wmf": ["fit"], "train": ["net"]}) is None
    for upstream, said in (
        ({"wmf": ["other"], "train": ["net"]}, "built on wmf run fit, not other"),
        ({"wmf": ["fit"], "train": ["old"]}, "built on train run net, not old"),
        ({"wmf": ["fit"]}, "built on train run net, whose predictions aren't ranked"),
    ):
        assert said in str(blend_problem(graph, "mix", upstream))
