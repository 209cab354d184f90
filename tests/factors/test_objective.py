"""Test confidence, regularization, Gram matrix and penalty against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from etude.config.wmf import WmfSettings
from etude.factors.objective import extra_confidence, gram, penalty, rating, row_regularization
from etude.frames import small_frame

LAWS = [
    WmfSettings(confidence="linear", alpha=40),
    WmfSettings(confidence="log", alpha=1),
    WmfSettings(confidence="log", alpha=3, epsilon=0.5),
]


def test_the_law_of_confidence():
    r = np.array([1, 2, 10])
    assert extra_confidence(r, LAWS[0]) == pytest.approx([40, 80, 400])
    assert extra_confidence(r, LAWS[1]) == pytest.approx(np.log([2, 3, 11]))
    assert extra_confidence(r, LAWS[2]) == pytest.approx(3 * np.log([3, 5, 21]))
    assert extra_confidence(r, LAWS[0]).dtype == np.float32


@given(st.integers(1, 10**12), st.sampled_from(LAWS))
def test_confidence_grows_with_plays_and_is_at_least_1(r, settings):
    some, more = extra_confidence(np.array([r, 2 * r]), settings)
    assert 0 < some < more


def test_the_rating_for_mllib_times_alpha_is_the_extra_confidence(spark):
    r = np.array([1, 3, 200])
    frame = small_frame(spark, [(int(n),) for n in r], "play_count bigint")
    found = frame.select(*(rating(F.col("play_count"), settings).alias(str(n)) for n, settings in enumerate(LAWS)))
    assert {kind for _, kind in found.dtypes} == {"float"}
    for n, settings in enumerate(LAWS):
        ratings = np.array([row[str(n)] for row in found.collect()])
        assert settings.alpha * ratings == pytest.approx(extra_confidence(r, settings), rel=1e-6)


def test_regularization_of_rows():
    counts = np.array([1, 5])
    assert list(row_regularization(counts, WmfSettings(regularization=2))) == [2, 2]
    assert list(row_regularization(counts, WmfSettings(regularization=2, regularization_scaling="frequency"))) == [
        2,
        10,
    ]


def test_gram_and_penalty_are_summed_in_float64():
    factors = np.random.default_rng(0).normal(size=(200_000, 3)).astype(np.float32)
    exact = factors.astype(np.float64)
    assert gram(factors) == pytest.approx(exact.T @ exact, rel=1e-12)
    each = np.arange(len(factors), dtype=np.float64)
    assert penalty(factors, each) == pytest.approx((each[:, None] * exact**2).sum(), rel=1e-12)
