"""Test that Spark tasks return the same lists and figures as one task in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.frames import small_frame
from etude.ranking import spread
from etude.ranking.metrics import LIST_METRICS
from etude.ranking.models import make_plan
from etude.ranking.plan import SOURCES
from etude.ranking.sums import figures, seen_within
from etude.ranking.task import Task


@pytest.fixture(scope="module")
def world():
    return small.world()


@pytest.fixture(scope="module")
def plan(world):
    settings = EvaluationSettings(protocol="strict", k=(2, 5, 12), per_user=True)
    return make_plan(world.known, TopnSettings(n=8), settings)


def pair_frame(spark, sets):
    pairs = [(user, track) for user, tracks in enumerate(sets) for track in tracks]
    return small_frame(spark, pairs, "user_idx int, track_idx int")


def frames(spark, world):
    factors = [(u, row.tolist()) for u, row in enumerate(world.user_factors) if row.any()]
    return spread.user_rows(
        spark.range(small.N_USERS).selectExpr("cast(id as int) as user_idx"),
        small_frame(spark, factors, "user_idx int, factors array<float>"),
        pair_frame(spark, world.heard),
        pair_frame(spark, world.relevant),
        pair_frame(spark, world.heard),
    )


@pytest.fixture(scope="module")
def done(spark, world, plan):
    frame = spread.ranked(frames(spark, world), plan, small.RANK, tasks=3)
    yield frame
    frame.unpersist()


def test_figures_equal_those_of_one_task(done, world, plan):
    alone = Task(plan)
    alone.rank(small.batch(world))
    expected = []
    for model in plan.models:
        for name in model.slices:
            sums = alone.sums[model.name, name]
            expected += figures(plan, model, name, sums.sums, seen_within(sums.seen, plan.cuts))
    found = spread.measured(done, plan)
    assert [row._replace(value=0) for row in found] == [row._replace(value=0) for row in expected]
    np.testing.assert_allclose([row.value for row in found], [row.value for row in expected], rtol=1e-12)
    assert spread.checks(done) == alone.checks


def test_means_over_users_of_their_metrics_are_the_figures(done, plan):
    rows = spread.user_metric_rows(done, plan).toPandas()
    key = ["model", "slice", "metric", "k"]
    assert not rows.duplicated(["user_idx", *key]).any()
    found = rows.groupby(key).value.agg(["mean", "size"])
    figures = {(*row[:3], row.k): row.value for row in spread.measured(done, plan)}
    names = {*LIST_METRICS, "auc"}
    assert set(found.index) == {figure for figure in figures if figure[2] in names}
    for (model, slice_, metric, k), (mean, size) in found.iterrows():
        assert mean == pytest.approx(figures[model, slice_, metric, k], rel=1e-12)
        users = figures[model, slice_, "users", 0]
        assert size <= users if metric == "auc" else size == users


def test_without_the_option_there_are_no_user_metrics(spark, world, plan):
    done = spread.ranked(frames(spark, world), replace(plan, per_user=False), small.RANK, tasks=1)
    assert spread.user_metric_rows(done, plan).isEmpty()
    done.unpersist()


def test_lists_are_those_of_one_task(spark, done, world, plan):
    ids = small_frame(spark, [(t, f"T{t}") for t in range(small.N_TRACKS)], "track_idx int, track_id string")
    assert sorted(map(tuple, spread.list_rows(done, ids, plan).collect())) == places(
        Task(plan).rank(small.batch(world)).lists
    )
    assert spread.repeat_rows(done, ids, plan).isEmpty()
    served = make_plan(world.known, TopnSettings(n=8, repeats=4), EvaluationSettings(protocol="none"))
    frame, alone = spread.ranked(frames(spark, world), served, small.RANK, tasks=3), Task(served)
    found = alone.rank(small.batch(world))
    assert sorted(map(tuple, spread.list_rows(frame, ids, served).collect())) == places(found.lists)
    assert sorted(map(tuple, spread.repeat_rows(frame, ids, served).collect())) == places(found.repeats)
    assert spread.checks(frame) == alone.checks
    assert alone.checks.repeats
    frame.unpersist()


def places(lists):
    return [
        (user, place + 1, f"T{track}", float(score), SOURCES[source])
        for user, row in enumerate(zip(*lists, strict=True))
        for place, (track, score, source) in enumerate(zip(*row, strict=True))
        if track >= 0
    ]


def test_bad_factors_of_users_are_counted_and_not_ranked(spark, world, plan):
    bad = world.user_factors.copy()
    bad[4] = np.inf
    found = spread.ranked(frames(spark, replace(world, user_factors=bad)), plan, small.RANK, tasks=2)
    assert spread.checks(found).bad_factors == 1
    found.unpersist()
    longer = spread.ranked(frames(spark, world), plan, small.RANK + 1, tasks=1)
    assert spread.checks(longer).bad_factors == small.N_USERS
    longer.unpersist()
