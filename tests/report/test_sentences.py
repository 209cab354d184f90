"""Test that the report's sentences follow from its figures."""

from dataclasses import replace

import fabricated_report as fabricated
import pytest

from etude.report import numbers, sentences, tables
from etude.report.facts import Figure, Figures, Rejected


def figures(**recall):
    rows = [Figure("topn", model, "cold", "recall", value, k=20) for model, value in recall.items()]
    return Figures(rows, "strict")


def test_ahead_of_the_best_baseline_with_the_share_of_the_way():
    said = sentences.cold_start(figures(random=0.1, same_artist=0.2, fusion=0.4, true_factors=0.6), 20)
    assert said == [
        "On cold tracks fusion reaches recall@20 0.400, ahead of the best baseline, same artist (0.200). "
        "Between random (0.100) and the true factors (0.600) that is 60% of the way."
    ]


def test_behind_is_said_too():
    (said,) = sentences.cold_start(figures(random=0.1, same_artist=0.5, fusion=0.4), 20)
    assert "behind the best baseline, same artist (0.500)" in said
    assert "of the way" not in said


def test_parts_of_the_blend_are_neither_its_rivals_nor_claimed_beside_it():
    (said,) = sentences.cold_start(
        figures(random=0.1, ridge=0.3, network=0.38, content_only=0.4, fusion=0.4, blend=0.4, true_factors=0.6), 20
    )
    assert said.startswith("On cold tracks blend reaches recall@20 0.400, ahead of the best baseline, ridge regression")


def test_without_a_model_of_ours_nothing_is_claimed():
    assert sentences.cold_start(figures(random=0.1, true_factors=0.6), 20) == []


@pytest.mark.parametrize(("bound", "share"), [(0.6, 0.5), (0.2, None), (None, None)])
def test_share_of_the_way_needs_a_bound_above_chance(bound, share):
    found = sentences.share_of_way(0.4, 0.2, bound)
    assert found == (None if share is None else pytest.approx(share))


def test_the_best_epoch_is_the_one_of_least_validation_loss():
    assert "after epoch 2 of 3 (0.400)" in sentences.best_epoch([(1, 0.5), (2, 0.4), (3, 0.45)])


def test_the_fall_of_the_loss():
    said = sentences.loss_fall([(1, 200.0), (2, 120.0), (3, 100.0)])
    assert "fell by 50% from iteration 1 to 3. The last iteration reduced it by 17%." in said


def test_refusals_are_counted_over_reasons_and_shared_over_all_records():
    facts = fabricated.facts()
    some = (
        Rejected("ingest", "a", "duplicate", 30),
        Rejected("ingest", "b", "duplicate", 10),
        Rejected("ingest", "catalogue", "bad_row", 3),
        Rejected("mel", "m", "too_short", 5),
    )
    facts = replace(facts, listening=replace(facts.listening, rows=60, rejects=some, sources=("a", "b")))
    assert sentences.refused(facts) == (
        "Rejected: 40 of 100 records (40%), for 1 reason; most often duplicate (40). Also rejected: 3 catalogue rows."
    )


def test_what_msle_leaves_out_is_said():
    found = Figures([Figure("train", "fusion", "test", "msle_left_out", 0.25)], "strict")
    assert "25% of the test values of fusion" in sentences.msle_left_out(found)


def test_the_bound_never_is_the_best_of_its_column():
    table = tables.ranking(figures(random=0.1, same_artist=0.2, fusion=0.15, true_factors=0.6), "cold", 20)
    best = {row.look.label: row.cells[0].best for row in table.rows}
    assert best == {"fusion": False, "random": False, "same artist": True, "true factors (bound)": False}


def test_a_model_level_with_the_bound_is_the_best_alone():
    table = tables.ranking(figures(random=0.1, fusion=0.6, true_factors=0.6), "cold", 20)
    assert [row.look.label for row in table.rows if row.cells[0].best] == ["fusion"]


def test_seeds_are_averaged():
    rows = [Figure("topn", "fusion", "cold", "auc", value, seed=seed) for seed, value in ((1, 0.6), (2, 0.8))]
    assert Figures(rows, "strict").value("fusion", "cold", "auc") == pytest.approx(0.7)


def test_how_many_seeds_the_figures_are_of_is_counted():
    rows = [
        Figure("topn", model, "cold", "auc", 0.6, seed=s) for model, s in (("fusion", 1), ("fusion", 2), ("random", 3))
    ]
    assert sentences.seeds(Figures(rows, "strict")) == "Means over 2 seeds of the network on one fit; no intervals."
    assert sentences.seeds(Figures(rows[1:], "strict")) == "One fit, one seed: no intervals."


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.000"), (0.12345, "0.123"), (0.0001, "1.0e-04"), (12.345, "12.35"), (12345.6, "12,346")],
)
def test_figures_as_people_read_them(value, text):
    assert numbers.figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(4.24, "4.2 s"), (59.4, "59 s"), (72.2, "1 min 12 s"), (7500, "2 h 5 min")]
)
def test_times_as_people_read_them(value, text):
    assert numbers.seconds(value) == text
