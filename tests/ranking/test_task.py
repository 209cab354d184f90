"""Test lists and figures of a small world against ranking and counting one user at a time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import naive
import numpy as np
import pytest
import small

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.lake.metrics import Metric
from etude.ranking.inputs import SPLITS
from etude.ranking.models import make_plan
from etude.ranking.plan import PARTS, SLICES, SOURCES, random_users
from etude.ranking.sums import figures, seen_within
from etude.ranking.task import Task
from etude.search.exact import score, top_n

CUTS = (2, 5, 12)


def ranked(world, n=8, protocol="strict", **topn):
    plan = make_plan(
        world.known, TopnSettings(n=n, **topn), EvaluationSettings(protocol=protocol, k=(5, 2, 12, 5), seed=3)
    )
    task = Task(plan)
    lists = (task.rank(small.batch(world, part)).lists for part in batches(world))
    tracks, scores, sources = zip(*lists, strict=True)
    return plan, task, np.concatenate(tracks), np.concatenate(scores), np.concatenate(sources)


def batches(world):
    size = len(world.user_factors)
    return [range(7), range(7, size - 1), range(size - 1, size)]


def figures_of(plan, task):
    rows = []
    for model in plan.models:
        for name in model.slices:
            sums = task.sums[model.name, name]
            rows += figures(plan, model, name, sums.sums, seen_within(sums.seen, plan.cuts))
    assert len({row[:3] + row[4:] for row in rows}) == len(rows)
    return {(row.model, row.slice, row.metric, row.k): row.value for row in rows}


def user_rows(model, world, user):
    if model.needs_factors:
        return world.user_factors[[user]]
    return random_users(model.seed, np.array([user])) if model.users == "random" else np.ones((1, 1), np.float32)


def scores_of(plan, model, world, user, slice_):
    """Return {track: score} of the slice's candidates that the model can score, heard or not."""
    found = {}
    for part, candidates in model.parts.items():
        if part not in SLICES[slice_]:
            continue
        vectors = np.repeat(candidates.vectors, candidates.counts, axis=0)
        values = score(user_rows(model, world, user), vectors[None])[0]
        found.update(zip(candidates.tracks.tolist(), values.tolist(), strict=True))
    return found


def naive_figures(plan, model, slice_, world, exclude):
    """Return every figure of one model on one slice by the definitions."""
    inside = {t for t, p in enumerate(plan.part_of) if p < len(PARTS) and PARTS[p] in SLICES[slice_]}
    cold = {t for t in inside if PARTS[plan.part_of[t]] in ("cold", "unplayed")}
    plays, listeners = world.known.facts.plays, world.known.facts.listeners
    light = {t for t in inside - cold if 1 <= listeners[t] <= 3}
    pairs, found = Counter(), Counter()
    per_user, aucs, cold_recalls, shown, left_out = [], [], {k: [] for k in CUTS}, {k: set() for k in CUTS}, 0
    without_factors = 0
    for user, row in enumerate(world.user_factors):
        relevant = world.relevant[user] & inside
        if not relevant:
            left_out += 1
            continue
        if model.needs_factors and not row.any():
            without_factors += 1
            listed = inside if cold == inside and not exclude else inside - cold
            scores = {t: np.float32(plays[t] / plays.sum()) for t in listed}
        else:
            scores = scores_of(plan, model, world, user, slice_)
        ranking = naive.rank({t: s for t, s in scores.items() if not (exclude and t in world.heard[user])}, 12)
        value = naive.auc(scores, inside, relevant)
        aucs += [] if value is None else [value]
        row = {}
        for k in CUTS:
            first = ranking[:k]
            shown[k] |= set(first)
            row.update({(name, k): v for name, v in naive.list_metrics(ranking, relevant, k).items()})
            bits = [-math.log2(max(plays[t], 1) / plays.sum()) for t in first]
            row["novelty", k] = naive.mean(bits) if bits else 0.0
            row["cold_share", k] = len(cold & set(first)) / max(len(first), 1)
            row["light_share", k] = len(light & set(first)) / max(len(first), 1)
            found.update((naive.level(listeners[t]), k) for t in relevant & set(first))
            if relevant & cold:
                cold_recalls[k].append(len(relevant & cold & set(first)) / len(relevant & cold))
        pairs.update(naive.level(listeners[t]) for t in relevant)
        per_user.append(row)
    expected = {key: naive.mean([row[key] for row in per_user]) for key in per_user[0]}
    expected.update({("coverage", k): len(shown[k]) / len(inside) for k in CUTS})
    if slice_ in ("all", "catalogue"):
        expected.update({("cold_recall", k): naive.mean(values) for k, values in cold_recalls.items()})
        expected.update({(f"found_{level}", k): found[level, k] / pairs[level] for level in pairs for k in CUTS})
    else:
        expected = {key: value for key, value in expected.items() if key[0] not in ("cold_share", "light_share")}
    if slice_ == "cold":
        expected["auc", 0] = naive.mean(aucs)
    if model.needs_factors:
        expected["users_without_factors", 0] = without_factors
    return {**expected, ("users", 0): len(per_user), ("users_left_out", 0): left_out, ("candidates", 0): len(inside)}


def test_every_figure_equals_its_definition_with_a_blend():
    world = small.with_blend(small.world())
    plan, task, *_ = ranked(world)
    found = figures_of(plan, task)
    assert [model.name for model in plan.models] == [
        *("blend", "fusion", "plays_only", "content_only", "random", "popularity", "artist_popularity"),
        *("same_artist", "true_factors"),
    ]
    for model in plan.models:
        for name in model.slices:
            expected = naive_figures(plan, model, name, world, exclude=True)
            mine = {key[2:]: value for key, value in found.items() if key[:2] == (model.name, name)}
            assert mine == pytest.approx(expected), (model.name, name)
    slices = {model.name: model.slices for model in plan.models}
    assert slices["blend"] == slices["fusion"] == tuple(SLICES)
    assert slices["plays_only"] == ("all", "catalogue", "warm", "head", "tail")


def test_a_blend_leaves_the_figures_of_separate_factors_as_they_are():
    world = small.world()
    alone = figures_of(*ranked(world)[:2])
    beside = figures_of(*ranked(small.with_blend(world))[:2])
    # Only a blend knows track 57, so the parts of the others' candidates are equal.
    assert {key: value for key, value in beside.items() if key[0] in ("fusion", "same_artist", "popularity")} == {
        key: value for key, value in alone.items() if key[0] in ("fusion", "same_artist", "popularity")
    }


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_every_figure_equals_its_definition(protocol):
    world = small.world()
    if protocol == "paper":
        world = small.paper_world(world)
    plan, task, *_ = ranked(world, protocol=protocol)
    found = figures_of(plan, task)
    assert [model.name for model in plan.models] == [
        *("fusion", "random", "popularity", "artist_popularity", "same_artist", "true_factors")
    ]
    for model in plan.models:
        for name in model.slices:
            expected = naive_figures(plan, model, name, world, exclude=protocol == "strict")
            mine = {key[2:]: value for key, value in found.items() if key[:2] == (model.name, name)}
            assert mine == pytest.approx(expected), (model.name, name)
    slices = {model.name: model.slices for model in plan.models}
    # Users 3 and 17 have no factors: they are counted, with their lists by popularity.
    assert found["fusion", "cold", "users_without_factors", 0] == 2
    assert found["fusion", "all", "users", 0] == found["popularity", "all", "users", 0]
    everywhere = tuple(SLICES) if protocol == "strict" else ("all", "cold")
    assert slices["fusion"] == slices["popularity"] == everywhere
    assert slices["true_factors"] == ("all", "cold")


def test_written_lists_are_the_measured_ones_and_the_best():
    world = small.world()
    plan, task, tracks, scores, sources = ranked(world, n=8)
    cold = set(range(45, 57))  # 57 has no prediction
    for user, row in enumerate(world.user_factors):
        if not row.any():
            continue
        all_scores = scores_of(plan, plan.final, world, user, "all")
        assert set(all_scores) == set(range(39)) | cold
        expected = naive.rank({t: s for t, s in all_scores.items() if t not in world.heard[user]}, 8)
        assert tracks[user].tolist() == expected
        assert scores[user].tolist() == [np.float32(all_scores[t]) for t in expected]
        assert [SOURCES[s] for s in sources[user]] == [
            "cold" if t in cold else "light" if world.known.facts.listeners[t] <= 3 else "warm" for t in expected
        ]
    assert (task.checks.short, task.checks.bad_scores, task.checks.bad_factors) == (0, 0, 0)


def test_users_without_factors_get_popular_tracks_they_have_not_heard():
    world = small.world()
    _, task, tracks, scores, sources = ranked(world)
    plays = world.known.facts.plays
    for user in (3, 17):
        unheard = {t: plays[t] / plays.sum() for t in range(39) if t not in world.heard[user]}
        assert tracks[user].tolist() == naive.rank(unheard, 8)
        np.testing.assert_allclose(scores[user], [unheard[t] for t in tracks[user]], rtol=1e-6)
        assert {SOURCES[s] for s in sources[user]} == {"popularity"}
    assert (task.checks.users, task.checks.fallback) == (30, 2)


def test_the_quota_holds_in_lists_and_figures():
    world = small.world()
    plan, task, tracks, _, _ = ranked(world, cold_share=0.5)
    cold = plan.part_of[tracks[world.user_factors.any(axis=1)]] == PARTS.index("cold")
    assert (cold[:, :8].sum(axis=1) >= 4).all()
    assert (cold[:, :2].sum(axis=1) >= 1).all()
    found = figures_of(plan, task)
    with_factors = 1 - found["fusion", "all", "users_without_factors", 0] / found["fusion", "all", "users", 0]
    assert found["fusion", "all", "cold_share", 2] >= 0.5 * with_factors  # popularity has no quota
    plain = figures_of(*ranked(world)[:2])
    assert plain["fusion", "all", "cold_share", 2] < found["fusion", "all", "cold_share", 2]
    assert plain["fusion", "warm", "recall", 5] == found["fusion", "warm", "recall", 5]


def test_without_a_network_lists_are_warm_and_cold_baselines_are_still_measured():
    world = small.world()
    plan, task, tracks, _, sources = ranked(small.without_network(world))
    assert tracks.max() < 40
    assert "cold" not in {SOURCES[s] for s in np.unique(sources)}
    found = figures_of(plan, task)
    assert ("wmf", "warm", "recall", 5) in found
    assert ("wmf", "cold", "auc", 0) not in found
    assert found["popularity", "cold", "auc", 0] == 0.5
    assert found["true_factors", "cold", "auc", 0] != 0.5


def test_protocol_none_lists_every_track_with_factors_and_measures_nothing():
    world = small.world()
    plan, task, tracks, _, _ = ranked(world, n=70, protocol="none")
    assert plan.models == ()
    assert task.sums == {}
    for user in range(30):
        listed = {int(track) for track in tracks[user] if track >= 0}
        candidates = set(range(60)) - {57} if world.user_factors[user].any() else set(range(39))
        assert listed == candidates - world.heard[user]
    assert task.checks.short == 0


def test_without_cold_tracks_there_are_no_models_of_cold_tracks():
    world = small.world()
    split = np.where(world.known.facts.split == SPLITS.index("test"), 0, world.known.facts.split)
    known = replace(world.known, facts=replace(world.known.facts, split=split.astype(np.uint8)))
    plan, task, *_ = ranked(replace(world, known=known))
    assert [model.name for model in plan.models] == ["fusion", "random", "popularity", "artist_popularity"]
    assert ("fusion", "all", "recall", 5) in figures_of(plan, task)


def test_violations_are_counted(monkeypatch):
    world = small.world()
    before = ranked(world)[1].checks
    assert (before.short, before.bad_scores, before.bad_factors) == (0, 0, 0)
    world.user_factors[0] = np.nan
    world.relevant[0].add(39)
    found = ranked(world)[1].checks
    assert (found.bad_factors, found.fallback) == (1, before.fallback + 1)
    assert found.out_of_reach == before.out_of_reach + 1

    def last_place_lost(users, candidates, n, heard, cap):
        tracks, scores = top_n(users, candidates, n, heard, cap)
        tracks[:, -8:], scores[:, 0] = -1, np.inf
        return tracks, scores

    monkeypatch.setattr("etude.ranking.task.top_n", last_place_lost)
    found = ranked(small.world(), n=12, protocol="none")[1].checks
    assert found.short == small.N_USERS
    assert found.bad_scores == 2 * small.N_USERS - found.fallback  # one in each part's list


@pytest.mark.parametrize("options", [{}, {"cold_share": 0.3}, {"protocol": "none"}], ids=str)
def test_no_list_has_more_of_an_artist_than_asked_for(options):
    world = small.world()
    plan, task, tracks, _, _ = ranked(world, n=12, max_per_artist=2, **options)
    artist = world.known.facts.artist
    listable = np.isin(np.arange(len(artist)), plan.candidates)
    for user, listed in enumerate(tracks):
        counts = np.bincount(artist[listed[listed >= 0]], minlength=9)
        assert counts[1:].max() <= 2
        assert counts.sum() == 12 or world.user_factors[user].any() == 0
    assert listable.sum() > 12
    assert task.checks.short == 0
    without = ranked(world, n=12, **options)[2]
    assert (without != tracks).any()


def test_figures_have_their_seeds():
    world = small.world()
    plan, task, *_ = ranked(world)
    sums = task.sums["fusion", "cold"]
    row = next(figures(plan, plan.final, "cold", sums.sums, seen_within(sums.seen, plan.cuts)))
    assert row == Metric("fusion", "cold", "users", row.value, seed=7)
    assert {model.name: model.seed for model in plan.models}["random"] == 3


def test_repeats_are_the_best_of_what_a_user_has_heard():
    """By the order of the lists; users without factors get theirs by popularity."""
    world = small.world()
    plan = make_plan(world.known, TopnSettings(n=8, repeats=5), EvaluationSettings(protocol="none"))
    task = Task(plan)
    found = task.rank(small.batch(world))
    assert task.checks.repeats == sum(min(5, len(heard)) for heard in world.heard) - shortened(world, plan)
    for user, (tracks, scores, sources) in enumerate(zip(*found.repeats, strict=True)):
        known = world.user_factors[user].any()
        of_all = scores_of(plan, plan.final if known else plan.fallback, world, user, "all")
        if not known:
            of_all = {
                track: np.float32(world.known.facts.plays[track] / world.known.facts.plays.sum()) for track in of_all
            }
        ranking = naive.rank({track: of_all[track] for track in world.heard[user] & of_all.keys()}, 5)
        assert [int(track) for track in tracks if track >= 0] == ranking
        assert [float(score) for score in scores[: len(ranking)]] == [float(of_all[track]) for track in ranking]
        names = {SOURCES[source] for source in sources[: len(ranking)]}
        assert names <= ({"cold", "light", "warm"} if known else {"popularity"})
    assert not {int(track) for track in found.lists.tracks[0]} & world.heard[0]
    evaluated = make_plan(world.known, TopnSettings(n=8, repeats=5), EvaluationSettings(protocol="strict"))
    assert Task(evaluated).rank(small.batch(world)).repeats is None


def shortened(world, plan):
    """How many places the lists lack because heard tracks are no candidates, or by popularity can't be told apart."""
    lost = 0
    for user, heard in enumerate(world.heard):
        model = plan.final if world.user_factors[user].any() else plan.fallback
        there = {int(track) for part in model.parts.values() for track in part.tracks}
        lost += min(5, len(heard)) - min(5, len(heard & there))
    return lost
