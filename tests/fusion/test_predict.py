"""Test prediction on Spark, and the errors of the predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etude import storage
from etude.frames import small_frame
from etude.fusion import checkpoint as checkpoints
from etude.fusion.accuracy import factor_errors
from etude.fusion.distribution.single import SingleRank
from etude.fusion.loop import work
from etude.fusion.networks.inputs import all_crops, to_tensors
from etude.fusion.predict import Predictor, best_share, predict
from etude.fusion.regression import FOLDS, Regressions
from etude.fusion.ridge import Penalties, fit, inputs_of, sound_statistics
from fusion.planted import RANK, SHAPE, columns_of, training_of


def test_spark_predicts_what_network_and_regression_predict_and_their_mean(spark, planted, tmp_path):
    training = training_of(tmp_path, planted, epochs=2)
    work(training, SingleRank())
    best = storage.read_bytes(checkpoints.best_uri(training.folder))
    columns = columns_of(planted)
    network = checkpoints.from_bytes(best).network()
    rows = {name: columns[name] for name in network.inputs}
    with torch.no_grad():
        expected = network.factors(all_crops(network, to_tensors(rows, SHAPE))).numpy()
    inputs = inputs_of({**columns, "sound": sound_statistics(columns["mel"], SHAPE)}, SHAPE)
    ridge = fit(inputs, columns["target"], Penalties())
    twin = fit(inputs, columns["target"], Penalties(100.0, 1e5))
    learned = planted.split == "train"
    linear = np.where(learned[:, None], twin.predict(inputs), ridge.predict(inputs))
    regressions = Regressions(ridge, (twin,) * FOLDS)
    names = ("track_idx", *network.inputs)
    frame = small_frame(
        spark,
        [(*(columns[name][i].tolist() for name in names), str(planted.split[i])) for i in range(len(planted.artist))],
        "track_idx int, mel array<float>, has_mel int, artist_index int, year_index int, "
        "tag_indices array<int>, tag_weights array<float>, split string",
    )
    n = len(planted.artist)

    def found(predictor):
        rows = sorted(predict(frame, n, predictor, SHAPE, 1).collect())
        assert [row["track_idx"] for row in rows] == list(range(n))
        return {name: [row[name] for row in rows] for name in ("factors", "network", "ridge")}

    both = found(Predictor(regressions, best, 0.25))
    assert np.array(both["factors"]).shape == (120, RANK)
    np.testing.assert_allclose(both["network"], expected, atol=1e-6)
    np.testing.assert_allclose(both["ridge"], linear, atol=1e-5)
    np.testing.assert_allclose(both["factors"], 0.25 * expected + 0.75 * linear, atol=1e-5)
    alone = found(Predictor(regressions, None, 0.0))
    assert alone["network"] == [None] * n
    np.testing.assert_allclose(alone["factors"], linear, atol=1e-5)


@pytest.mark.parametrize(("planted_share", "expected"), [(0.3, 0.3), (1.4, 1.0), (-0.5, 0.0)])
def test_the_share_has_the_least_squared_error(spark, planted_share, expected):
    random = np.random.default_rng(0)
    network, ridge = random.standard_normal((2, 40, 5))
    target = planted_share * network + (1 - planted_share) * ridge
    predicted = small_frame(
        spark,
        [(i, network[i].tolist(), ridge[i].tolist()) for i in range(40)],
        "track_idx int, network array<double>, ridge array<double>",
    )
    targets = small_frame(spark, [(i, target[i].tolist()) for i in range(40)], "track_idx int, target array<double>")
    assert best_share(predicted, targets) == pytest.approx(expected)
    assert best_share(predicted, targets.limit(0)) is None


def test_errors_are_the_papers_and_say_what_msle_leaves_out(spark):
    y = np.array([[0.5, -1.5], [0.0, 2.0], [3.0, 1.0]], dtype="f4")
    p = np.array([[0.25, 0.5], [-2.0, 1.0], [2.5, 1.0]], dtype="f4")
    splits = ["train", "train", "test"]
    targets = small_frame(
        spark,
        [(i, split, y[i].tolist()) for i, split in enumerate(splits)],
        "track_idx int, split string, target array<float>",
    )
    predicted = small_frame(
        spark, [(i, row.tolist()) for i, row in enumerate(p)] + [(9, [0.0, 0.0])], "track_idx int, factors array<float>"
    )
    found = {(row["split"], row["metric"]): row["value"] for row in factor_errors(predicted, targets).collect()}
    for split, rows in (("train", slice(0, 2)), ("test", slice(2, 3))):
        difference = y[rows] - p[rows]
        assert found[split, "mse"] == pytest.approx(np.mean(difference**2))
        assert found[split, "rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)))
        assert found[split, "mae"] == pytest.approx(np.mean(np.abs(difference)))
        both = (y[rows] > -1) & (p[rows] > -1)
        logs = np.log1p(p[rows][both]) - np.log1p(y[rows][both])
        assert found[split, "msle"] == pytest.approx(np.mean(logs**2))
        assert found[split, "msle_left_out"] == pytest.approx(1 - both.mean())
    assert found["train", "msle_left_out"] == 0.5


def test_errors_where_no_cell_is_left_for_msle(spark):
    targets = small_frame(spark, [(0, "test", [-2.0])], "track_idx int, split string, target array<float>")
    predicted = small_frame(spark, [(0, [0.0])], "track_idx int, factors array<float>")
    found = {row["metric"]: row["value"] for row in factor_errors(predicted, targets).collect()}
    assert found == {"mse": 4.0, "rmse": 2.0, "mae": 2.0, "msle_left_out": 1.0}
