"""The figures of networks are those of ranking.metrics; replicates are figures of the drawn users and tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison.test_contest import contest
from etude.comparison.bootstrap import ERRORS, _Sample, compare, figure_names
from etude.comparison.contest import Contest, Judged, by_chance, judge
from etude.ranking import metrics
from etude.ranking.sums import hits_of
from etude.search.candidates import Candidates, Pairs
from etude.search.exact import top_n
from etude.vectors import Factors

CUTS = (1, 3, 6)


def noisy(judges, scale, seed):
    rng = np.random.default_rng(seed)
    noise = (scale * rng.standard_normal(judges.targets.values.shape)).astype("f4")
    return judge(judges, Factors(judges.targets.idx, judges.targets.values + noise))


@pytest.fixture(scope="module")
def judges():
    return contest(users=60, tracks=40, rank=4, seed=3)


@pytest.fixture(scope="module")
def figures(judges):
    judged = {
        "good": [noisy(judges, 0.1, seed) for seed in (1, 2, 3)],
        "same": [noisy(judges, 0.1, seed) for seed in (1, 2, 3)],
        "bad": [noisy(judges, 2.0, seed) for seed in (4, 5)],
        "chance": [by_chance(judges, 1)],
    }
    return compare(judges, judged, CUTS, 400, 7)


def test_figures_are_the_means_of_ranking_metrics_over_users(judges):
    rng = np.random.default_rng(5)
    predicted = Factors(judges.targets.idx, rng.standard_normal(judges.targets.values.shape).astype("f4"))
    found = compare(judges, {"one": [judge(judges, predicted)]}, CUTS, 100, 1)
    lists, _ = top_n(judges.users, Candidates.of(predicted.idx, predicted.values), 6)
    hits, counts = hits_of(lists, judges.relevant), np.bincount(judges.relevant.rows)
    for k in CUTS:
        for name in ("precision", "recall", "f1"):
            expected = metrics.LIST_METRICS[name](hits, counts, k).mean()
            assert found.interval("one", f"{name}@{k}").value == pytest.approx(expected, rel=1e-5)
    scores = judges.users @ predicted.values.T
    won = [
        sum((scores[row] < scores[row, t]).sum() + 0.5 for t in judges.relevant.tracks[judges.relevant.rows == row])
        for row in range(60)
    ]
    assert found.interval("one", "auc").value == pytest.approx(metrics.auc(np.array(won), counts, 40).mean(), rel=1e-5)
    errors = np.square(predicted.values - judges.targets.values)
    assert found.interval("one", "mse").value == pytest.approx(errors.mean(), rel=1e-5)
    assert found.interval("one", "rmse").value == pytest.approx(np.sqrt(errors.mean()), rel=1e-5)


def test_a_replicate_counts_pairs_as_often_as_their_user_and_track_were_drawn(judges):
    judgement = noisy(judges, 1.0, 1)
    sample = _Sample(judges, [judgement], CUTS)
    rng = np.random.default_rng(2)
    users, tracks = rng.integers(0, 3, 60).astype(float), rng.integers(0, 3, 40).astype(float)
    found = dict(zip(figure_names(CUTS), sample.figures(users, tracks)[0], strict=True))
    hit, whole, precision, f1 = 0.0, 0.0, 0.0, 0.0
    for row, track, above in zip(judges.relevant.rows, judges.relevant.tracks, judgement.above, strict=True):
        often, relevant = users[row] * tracks[track], (judges.relevant.rows == row).sum()
        whole += often / relevant
        if above < 3:
            hit += often / relevant
            precision += often / 3
            f1 += 2 * often / (3 + relevant)
    drawn = users[np.unique(judges.relevant.rows)].sum()
    assert found["recall@3"] == pytest.approx(hit / whole, rel=1e-5)
    assert found["precision@3"] == pytest.approx(precision / drawn, rel=1e-5)
    assert found["f1@3"] == pytest.approx(f1 / drawn, rel=1e-5)
    assert found["mse"] == pytest.approx((judgement.errors[0] @ tracks) / (judgement.cells[0] @ tracks))


@given(st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=10)
def test_replicates_lie_around_the_figure_however_few_tracks_a_user_has(most, seed):
    """Of users with one relevant track, a third have none that was drawn; they must count as often as the others."""
    rng = np.random.default_rng(seed)
    targets = Factors(np.arange(200, dtype="i4"), rng.standard_normal((200, 3)).astype("f4"))
    counts = rng.integers(1, most + 1, 300)
    tracks = np.concatenate([np.sort(rng.choice(200, n, replace=False)) for n in counts]).astype("i4")
    sparse = Contest(
        rng.standard_normal((300, 3)).astype("f4"), targets, Pairs(np.repeat(np.arange(300), counts), tracks)
    )
    nothing = np.zeros((3, 200))
    # Users with more relevant tracks have better lists.
    above = np.where(rng.random(len(tracks)) < 0.2 * np.repeat(counts, counts), 0.0, 50.0)
    found = compare(sparse, {"one": [Judged(above, np.ones(len(tracks)), nothing, nothing)]}, CUTS, 400, seed)
    for name in found.names[len(ERRORS) :]:
        place = found.names.index(name)
        error = found.draws[:, 0, place].std() / np.sqrt(400)
        assert abs(found.draws[:, 0, place].mean() - found.values[0, place]) < 5 * error + 0.003, name


def test_figures_that_are_not_defined_have_no_difference(judges):
    halves = [judge(judges, judges.targets.where(judges.targets.idx % 2 == rest)) for rest in (0, 1)]
    found = compare(judges, {"even": [halves[0]], "odd": [halves[1]]}, CUTS, 100, 1)
    assert np.isnan(found.difference("even", "odd", "mse").p)
    assert found.difference("even", "odd", "auc").p > 0


def test_seeds_are_averaged_and_their_spread_stands_beside(judges, figures):
    each = [compare(judges, {"one": [noisy(judges, 2.0, seed)]}, CUTS, 100, 7) for seed in (4, 5)]
    values = [one.interval("one", "recall@3").value for one in each]
    assert figures.interval("bad", "recall@3").value == pytest.approx(np.mean(values))
    assert figures.interval("bad", "recall@3").over_seeds == pytest.approx(np.std(values, ddof=1))
    assert figures.interval("chance", "auc").over_seeds == 0


def test_intervals_hold_the_figure_and_differences_are_paired(figures):
    for network in ("good", "bad", "chance"):
        found = figures.interval(network, "auc")
        assert found.low < found.value < found.high
    nothing = figures.difference("good", "same", "auc")
    assert (nothing.value, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)
    much = figures.difference("good", "chance", "auc")
    assert 0 < much.low < much.value < much.high and much.p == 2 / 400
    assert figures.difference("chance", "good", "auc").value == -much.value
    assert figures.difference("good", "bad", "mse").high < 0


def test_the_interval_is_about_as_wide_as_the_figure_varies_between_samples():
    """Of 60 samples of users and tracks, the 95% interval of most holds the mean over all samples; it may be wide."""
    found = []
    for seed in range(60):
        judges = contest(users=40, tracks=30, rank=4, seed=100 + seed)
        found.append(compare(judges, {"one": [noisy(judges, 0.5, seed)]}, (3,), 200, seed).interval("one", "auc"))
    truth = np.mean([each.value for each in found])
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.85


def test_errors_are_taken_over_the_tracks_that_all_networks_predict(judges):
    half = judges.targets.where(judges.targets.idx % 2 == 0)
    worse = Factors(half.idx, half.values + np.float32(1))
    whole = Factors(judges.targets.idx, judges.targets.values + (judges.targets.idx % 2)[:, None].astype("f4"))
    found = compare(judges, {"half": [judge(judges, worse)], "whole": [judge(judges, whole)]}, CUTS, 100, 1)
    assert found.interval("half", "mse").value == pytest.approx(1)
    assert found.interval("whole", "mse").value == 0
