"""Test the ridge regression against scikit-learn's, and what it makes of values that nobody knows."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference

from etude.config.train import TrainSettings
from etude.frames import small_frame
from etude.fusion.regression import FOLDS, NO_FOLD, fit_ridge, fold_of
from etude.fusion.ridge import Penalties, choose, fit, fit_without, inputs_of, sound_statistics
from etude.fusion.shape import ExampleShape
from fusion.planted import N_FRAMES, N_MELS, RANK, SHAPE, columns_of, plant

DEAF = replace(SHAPE, n_mels=0, n_frames=0)


@pytest.fixture(scope="module")
def rows():
    columns = columns_of(plant(200, seed=3))
    columns["has_mel"][::9] = 0
    columns["mel"][::9] = 0
    columns["artist_index"][::11] = 0
    return {**columns, "sound": sound_statistics(columns["mel"], SHAPE)}


def dense(inputs, mean, std):
    sound = np.where(inputs.heard[:, None], (inputs.sound - mean) / std, 0)
    return inputs.values.toarray(), sound


@pytest.mark.parametrize("penalties", [Penalties(1.0, 30.0), Penalties(0.01, 0.1), Penalties(20.0, 1.0)])
def test_it_is_the_regression_that_scikit_learn_solves(rows, penalties):
    inputs = inputs_of(rows, SHAPE)
    found = fit(inputs, rows["target"], penalties)
    values, sound = dense(inputs, found.sound_mean, found.sound_std)
    # Columns divided by the root of their penalty all have penalty 1.
    scaled = np.hstack([values / np.sqrt(penalties.values), sound / np.sqrt(penalties.sound)])
    expected = Reference(alpha=1.0, solver="cholesky").fit(scaled, rows["target"]).predict(scaled)
    np.testing.assert_allclose(found.predict(inputs), expected, atol=2e-4)


def test_a_start_changes_the_way_but_not_the_result(rows):
    inputs = inputs_of(rows, SHAPE)
    cold = fit(inputs, rows["target"], Penalties(3.0, 100.0))
    warm = fit(inputs, rows["target"], Penalties(3.0, 100.0), fit(inputs, rows["target"], Penalties()))
    np.testing.assert_allclose(warm.predict(inputs), cold.predict(inputs), atol=2e-4)


def test_strong_penalties_leave_the_mean(rows):
    found = fit(inputs_of(rows, SHAPE), rows["target"], Penalties(1e9, 1e9))
    everywhere = np.tile(rows["target"].mean(axis=0), (200, 1))
    np.testing.assert_allclose(found.predict(inputs_of(rows, SHAPE)), everywhere, atol=1e-4)


def test_what_a_track_lacks_or_nobody_knows_adds_nothing(rows):
    ridge = fit(inputs_of(rows, SHAPE), rows["target"], Penalties())
    nothing = {
        "artist_index": np.zeros(1, "i4"),
        "year_index": np.zeros(1, "i4"),
        "tag_indices": np.zeros((1, 2), "i4"),
        "tag_weights": np.zeros((1, 2), "f4"),
        "has_mel": np.zeros(1, "i4"),
        "sound": np.zeros((1, 3 * N_MELS), "f4"),
    }
    np.testing.assert_array_equal(ridge.predict(inputs_of(nothing, SHAPE))[0], ridge.intercept)


def test_fields_that_are_left_out_change_nothing(rows):
    only_artists = fit(inputs_of(rows, SHAPE, ("artist",)), rows["target"], Penalties())
    other = {**rows, "year_index": rows["year_index"][::-1], "tag_indices": rows["tag_indices"][::-1]}
    np.testing.assert_array_equal(
        only_artists.predict(inputs_of(rows, SHAPE)), only_artists.predict(inputs_of(other, SHAPE))
    )


def test_statistics_of_sound_are_those_of_all_crops():
    shape = ExampleShape(2, 3, 2, artists=2, years=2, tags=1, tags_per_track=1, rank=1)
    mel = np.array([[[[0, 1, 3], [5, 5, 5]], [[2, 2, 2], [4, 8, 4]]]], "f4")
    found = sound_statistics(mel.reshape(1, -1), shape)
    bands = mel.transpose(0, 2, 1, 3).reshape(2, 6)
    changes = [(1 + 2 + 0 + 0) / 4, (0 + 0 + 4 + 4) / 4]
    np.testing.assert_allclose(found[0], [*bands.mean(axis=1), *bands.std(axis=1), *changes], rtol=1e-6)
    assert sound_statistics(np.zeros((4, 0), "f4"), DEAF).shape == (4, 0)
    assert sound_statistics(np.ones((1, 4), "f4"), replace(shape, n_frames=1)).tolist() == [[1, 1, 0, 0, 0, 0]]


def test_without_sound_there_are_only_the_values(rows):
    silent = {**rows, "sound": np.zeros((200, 0), "f4"), "has_mel": np.zeros(200, "i4")}
    inputs = inputs_of(silent, DEAF)
    found = choose(inputs, rows["target"], inputs, rows["target"])
    assert found.sound.shape == (0, RANK)
    assert np.mean((found.predict(inputs) - rows["target"]) ** 2) < rows["target"].var() / 2


def test_penalties_are_those_with_the_least_error_on_validation_tracks():
    """Where the artist says all, weak penalties win; where targets are noise, strong ones do."""
    random = np.random.default_rng(0)
    columns = columns_of(plant(300, seed=1))
    inputs = inputs_of({**columns, "sound": sound_statistics(columns["mel"], SHAPE)}, SHAPE)
    learned = np.arange(300) < 200
    of_artist = random.standard_normal((22, RANK)).astype("f4")[columns["artist_index"]]
    noise = random.standard_normal((300, RANK)).astype("f4")
    chosen = {
        name: choose(inputs.where(learned), goal[learned], inputs.where(~learned), goal[~learned]).penalties
        for name, goal in {"artist": of_artist, "noise": noise}.items()
    }
    assert chosen["artist"].values < 1 < chosen["noise"].values
    assert chosen["artist"].sound >= chosen["noise"].sound / 10
    none = np.zeros(300, bool)
    assert choose(inputs, noise, inputs.where(none), noise[none]).penalties == Penalties()


@pytest.fixture(scope="module")
def examples(spark, planted):
    columns = columns_of(planted)
    names = ("track_idx", "mel", "has_mel", "artist_index", "year_index", "tag_indices", "tag_weights", "target")
    rows = [(str(planted.split[i]), *(columns[name][i].tolist() for name in names)) for i in range(len(planted.artist))]
    return small_frame(
        spark,
        rows,
        "split string, track_idx int, mel array<float>, has_mel int, artist_index int, year_index int, "
        "tag_indices array<int>, tag_weights array<float>, target array<float>",
    ).cache()


def test_spark_collects_training_and_validation_tracks_in_any_partitions(examples, planted):
    log, settings = logging.getLogger("test"), TrainSettings()
    columns = columns_of(planted)
    inputs = inputs_of({**columns, "sound": sound_statistics(columns["mel"], SHAPE)}, SHAPE)
    learned, known = (planted.split == split for split in ("train", "validation"))
    goal = columns["target"]
    expected = choose(inputs.where(learned), goal[learned], inputs.where(known), goal[known])
    for frame in (examples, examples.repartition(5)):
        found = fit_ridge(frame, SHAPE, settings, log).whole
        assert found.penalties == expected.penalties
        np.testing.assert_array_equal(found.predict(inputs), expected.predict(inputs))


def test_regressions_without_a_fold_have_not_seen_its_targets(rows):
    inputs, folds = inputs_of(rows, SHAPE), np.arange(200, dtype=np.int32) % 4
    whole = fit(inputs, rows["target"], Penalties())
    altered = rows["target"] + 5 * (folds == 2)[:, None].astype("f4")
    before, after = (fit_without(inputs, targets, folds, 4, whole) for targets in (rows["target"], altered))
    moved = [np.abs(a.predict(inputs) - b.predict(inputs)).max() for a, b in zip(after, before, strict=True)]
    assert moved[2] < 1e-6
    assert min(moved[0], moved[1], moved[3]) > 0.5


def test_a_training_track_has_the_regression_without_its_fold(examples, planted):
    columns = columns_of(planted)
    inputs = inputs_of({**columns, "sound": sound_statistics(columns["mel"], SHAPE)}, SHAPE)
    found = examples.select("track_idx", fold_of(1).alias("fold")).sort("track_idx").collect()
    folds = np.array([row["fold"] for row in found])
    learned = planted.split == "train"
    assert set(folds[learned]) == set(range(FOLDS))
    assert set(folds[~learned]) == {NO_FOLD}
    regressions = fit_ridge(examples, SHAPE, TrainSettings(), logging.getLogger("test"))
    predicted = regressions.predict(inputs, folds)
    np.testing.assert_array_equal(predicted[~learned], regressions.whole.predict(inputs)[~learned])
    expected = fit_without(inputs.where(learned), columns["target"][learned], folds[learned], FOLDS, regressions.whole)
    for fold in range(FOLDS):
        mine = learned & (folds == fold)
        np.testing.assert_array_equal(predicted[mine], expected[fold].predict(inputs)[mine])
    # By heart: the whole regression is nearer to the targets that it has seen.
    errors = [np.square(each[learned] - columns["target"][learned]).mean() for each in (
        predicted, regressions.whole.predict(inputs)
    )]  # fmt: skip
    assert errors[0] > 1.2 * errors[1]


def test_without_enough_tracks_for_folds_the_whole_regression_counts(rows):
    inputs = inputs_of(rows, SHAPE)
    whole = fit(inputs, rows["target"], Penalties())
    folds = np.zeros(200, np.int32)
    assert fit_without(inputs, rows["target"], folds, 3, whole) == (whole, whole, whole)


def test_a_model_of_sound_alone_reads_no_metadata(examples, planted):
    found = fit_ridge(examples, SHAPE, TrainSettings(model="cnn"), logging.getLogger("test")).whole
    assert not found.values.any()
    assert found.sound.any()


def test_of_too_many_examples_it_reads_a_sample(examples, caplog):
    big = ExampleShape(N_MELS, N_FRAMES, 1, artists=22, years=22, tags=5, tags_per_track=2, rank=3000)
    caplog.set_level(logging.WARNING, logger="test")
    sampled = fit_ridge(examples, big, TrainSettings(ridge_mb=1), logging.getLogger("test")).whole
    assert "train.ridge_mb" in caplog.text
    whole = fit_ridge(examples, SHAPE, TrainSettings(), logging.getLogger("test")).whole
    assert not np.array_equal(sampled.intercept, whole.intercept)
