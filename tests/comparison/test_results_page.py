"""The page of results, and what it says of the paper's sentences."""

from __future__ import annotations

import json
import re
import xml.dom.minidom as xml
from types import SimpleNamespace

import numpy as np
import pytest

from etude.comparison.bootstrap import Figures, figure_names
from etude.comparison.claims import Claim, Order, answer, claims, rate_answers, same_order
from etude.comparison.curves import Curve, curve_of, recall_at
from etude.comparison.page import Judges, Results, pages
from etude.comparison.pictures import lists as lists_picture
from etude.comparison.trials import ABLATIONS, MODELS, OPTIONS
from etude.config.compare import CompareSettings
from etude.search.candidates import Pairs

CUTS = (5, 20)
NAMES = figure_names(CUTS)
BASELINES = ("chance", "artist_mean", "ridge", "true_factors")


def figures(worth: dict[str, float], noise=0.001) -> Figures:
    """Networks whose errors fall and whose lists improve with their worth."""
    rng = np.random.default_rng(1)
    signs = np.array([-1.0 if name in ("mse", "rmse", "mae", "msle") else 1.0 for name in NAMES])
    values = 0.5 + 0.1 * np.outer(list(worth.values()), signs)
    draws = values + noise * rng.standard_normal((400, *values.shape))
    return Figures(tuple(worth), NAMES, values, np.full(values.shape, 0.01), draws)


PAPERS = {"autoencoder": 0.0, "embeddings": 1.0, "cnn": 2.0, "cnn_lstm": 3.0, "fusion": 4.0}


def test_what_the_paper_says_holds_where_it_was_planted_and_not_the_other_way_round():
    agrees, differs = figures(PAPERS), figures({name: -worth for name, worth in PAPERS.items()})
    assert {answer(claim, agrees).found for claim in claims(20)} == {"holds"}
    assert {answer(claim, differs).found for claim in claims(20)} == {"doesn't hold"}
    assert same_order(agrees, 20).found == "holds"
    unclear = figures({name: worth / 1000 for name, worth in PAPERS.items()}, noise=0.1)
    assert {answer(claim, unclear).found for claim in claims(20)} == {"undecided"}


def test_one_inequality_the_other_way_round_refutes_and_is_named():
    claim = Claim("Said.", (Order("fusion", "cnn", "mse"), Order("embeddings", "cnn", "mse")))
    found = answer(claim, figures(PAPERS))
    assert (found.found, found.reason) == ("doesn't hold", "cnn against embeddings in mse")


def curve(*validation, training=(0.9, 0.5), recall=(0.1, 0.2), diverged=0):
    return Curve(training, validation, recall, diverged, 2)


def test_learning_rates_are_judged_by_their_curves():
    as_printed = {
        "0.1": curve(0.9, 1.2, training=(0.6, 0.1)),
        "0.01": curve(0.9, 0.7, training=(0.7, 0.3)),
        "0.001": curve(0.9, 0.6, training=(0.8, 0.4), recall=(0.1, 0.4)),
        "0.0001": curve(0.99, 0.9, training=(0.99, 0.95)),
    }
    assert [each.found for each in rate_answers(as_printed, 10)] == ["holds"] * 4
    assert "here recall@10 on validation tracks" in rate_answers(as_printed, 10)[1].sentence
    turned = dict(zip(as_printed, list(as_printed.values())[::-1], strict=True))
    assert [each.found for each in rate_answers(turned, 10)] == ["doesn't hold"] * 4
    burst = {**as_printed, "0.1": Curve((), (), (), 2, 2)}
    assert "not being finite in 2 of 2" in rate_answers(burst, 10)[-1].reason.replace("stops being", "not being")
    assert rate_answers({"0.1": burst["0.1"]}, 10) == []


def test_sentences_on_learning_rates_that_were_not_trained_are_left_out():
    others = {"0.01": curve(0.9, 0.7, training=(0.7, 0.3)), "0.1": curve(0.9, 1.2, training=(0.6, 0.1))}
    assert [each.sentence[:8] for each in rate_answers(others, 5)] == ["With 0.1"]
    found = rate_answers({**others, "0.001": Curve((0.5,), (0.1,), (0.9,), 1, 5)}, 5)
    assert [each.found for each in found] == ["doesn't hold"] * 2 + ["holds"]
    assert found[0].reason == "the loss stops being finite in 1 of 5 runs"


def test_figures_that_are_not_defined_decide_nothing_and_are_null_in_the_json_file():
    empty = figures(PAPERS)
    errors = [NAMES.index(name) for name in ("mse", "rmse", "mae", "msle")]
    empty.values[:, errors] = empty.draws[:, :, errors] = np.nan
    lists = [claim for claim in claims(20) if "@20" in claim.orders[0].figure]
    for claim in claims(20):
        assert answer(claim, empty).found == ("holds" if claim in lists else "undecided")
    assert same_order(empty, 20).found == "undecided"
    settings = CompareSettings(parts=("table1", "figure2"), protocols=("strict",))
    shown = {**PAPERS, "fusion_relu": 1.0, **dict.fromkeys(BASELINES, 0.0)}
    undefined = figures(shown)
    undefined.values[:, errors] = undefined.draws[:, :, errors] = np.nan
    found = pages(results(settings=settings, figures={"strict": undefined}, knobs={}), "r")
    assert "nan" not in found[".md"].lower()
    assert json.loads(found[".json"], parse_constant=pytest.fail)["figures"]["strict"]["cnn"]["mse"]["value"] is None


def test_a_figure_beside_its_interval_is_drawn():
    skewed = figures(PAPERS)
    skewed.draws[:] += 1
    assert "<svg" in lists_picture(skewed, {name: name for name in PAPERS}, CUTS)


def test_curves_are_means_over_the_seeds_that_stayed_finite():
    one = {"training": [1.0, 0.5], "validation": [1.0, 0.8], "recall": [0.1, 0.2]}
    two = {"training": [3.0, 1.5], "validation": [2.0, 1.0], "recall": [0.3, 0.4]}
    found = curve_of([one, None, two])
    assert found == Curve((2.0, 1.0), (1.5, 0.9), pytest.approx((0.2, 0.3)), 1, 3)
    assert curve_of([None]) == Curve((), (), (), 1, 1)
    judged = SimpleNamespace(hits=lambda k: np.array([0, 4, 1]) < k)
    assert recall_at(judged, Pairs(np.array([0, 0, 2]), np.array([1, 2, 1], "i4")), 2) == 0.75


def results(**changed) -> Results:
    networks = {variant.name for variant in (*MODELS.values(), *ABLATIONS, *OPTIONS)} | set(BASELINES)
    every = figures({name: PAPERS.get(name, 1.5) for name in sorted(networks)})
    knob = figures({"cnn_lstm": 1.0, "embeddings": 1.0, "fusion": 2.0, "chance": 0.0, "true_factors": 4.0})
    given = {
        "settings": CompareSettings(),
        "command": "spark-submit jobs/compare.py",
        "corpus": "Synthetic.",
        "k": 20,
        "cuts": CUTS,
        "trained": 9,
        "judges": {"strict": Judges(2000, 300, 15000), "paper": Judges(2001, 300, 15001)},
        "figures": {"strict": every, "paper": every},
        "curves": {"0.1": Curve((), (), (), 5, 5), "0.001": curve(0.9, 0.6)},
        "knobs": {0.0: knob, 0.9: knob},
    }
    return Results(**{**given, **changed})


def test_the_page_shows_every_part_with_all_its_networks():
    found = pages(results(), "results")
    page = found[".md"]
    for title in (
        "Table 1: errors of predicted factors, protocol paper",
        "Figure 2",
        "Figure 3",
        "Ablations",
        "Options",
        "Knobs",
    ):
        assert f"## {title}" in page
    for variant in (*MODELS.values(), *ABLATIONS, *OPTIONS):
        assert f"| {variant.label} |" in page
    assert "nan" not in page and "None" not in page
    assert "| 0.1 | | | | | | | 5 of 5 seeds |" in page
    assert "25%" in page  # of the way from chance to the bound
    for picture in re.findall(r"\]\(results(-[\w-]+\.svg)\)", page):
        xml.parseString(found[picture])
    assert found.keys() == {".md", ".json", "-figure2-strict.svg", "-figure2-paper.svg", "-figure3.svg"}
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {5, 6, 7, 8, 9, 4}


def test_the_json_file_has_every_figure_with_its_interval():
    found = json.loads(pages(results(), "results")[".json"])
    one = found["figures"]["strict"]["fusion"]["recall@20"]
    assert one.keys() == {"value", "low", "high", "over_seeds"} and one["value"] == pytest.approx(0.9)
    assert found["knobs"].keys() == {"0", "0.9"} and found["judges"]["paper"]["users"] == 2001


def test_a_page_of_one_part_has_no_empty_sections():
    settings = CompareSettings(parts=("table1",), models=("cnn", "fusion"), protocols=("strict",))
    few = figures({"cnn": 1.0, "fusion": 2.0, **dict.fromkeys(BASELINES, 0.0)})
    page = pages(results(settings=settings, figures={"strict": few}, curves={}, knobs={}), "r")
    assert page.keys() == {".md", ".json"}
    titles = re.findall(r"^## (.*)", page[".md"], re.M)
    assert titles == ["Table 1: errors of predicted factors, protocol strict"]
    more = settings.model_copy(update={"models": ("cnn", "cnn_lstm")})
    few = figures({"cnn": 1.0, "cnn_lstm": 2.0, **dict.fromkeys(BASELINES, 0.0)})
    page = pages(results(settings=more, figures={"strict": few}, curves={}, knobs={}), "r")[".md"]
    assert re.findall(r"^\| (.*) \| strict \| holds", page, re.M) == ["An LSTM after the CNN lessens the errors."]
