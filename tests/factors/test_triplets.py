"""Compare the engines with the implicit library on the 5-core of the real triplets: same splits and start, 5 seeds."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path

import implicit
import numpy as np
import pandas as pd
import pytest
from dense import sorted_pandas
from scipy import sparse

from etude.config.wmf import WmfSettings
from etude.factors import blocked, mllib
from etude.factors.start import start
from etude.hashing import id_keys, uniforms

pytestmark = [pytest.mark.slow, pytest.mark.real]

SEEDS = (1, 2, 3, 4, 5)
WMF = WmfSettings(rank=50, confidence="linear", alpha=5, regularization=10, iterations=15)


@pytest.fixture(scope="module")
def core(real_data: Path) -> pd.DataFrame:
    """Return the 5-core with dense indices: user_idx, track_idx, play_count, and the ids' keys for the split."""
    file = real_data / "listening" / "taste_profile_triplets.tsv"
    rows = pd.read_csv(file, sep="\t", header=None, names=["user", "track", "play_count"])
    before = -1
    while len(rows) != before:
        before = len(rows)
        rows = rows[rows.groupby("user").track.transform("size") >= 5]
        rows = rows[rows.groupby("track").user.transform("size") >= 5]
    for name in ("user", "track"):
        codes, ids = pd.factorize(rows[name], sort=True)
        rows = rows.assign(**{f"{name}_idx": codes.astype(np.int32), f"{name}_key": id_keys(ids)[codes]})
    assert (len(rows), rows.user_idx.nunique(), rows.track_idx.nunique()) == (26_833, 1_297, 2_625)
    return rows


def split(core: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold out a fifth of each user's interactions, as evaluation.test_plays=0.2 does."""
    draw = uniforms(seed, "split of plays", core.user_key.to_numpy(), core.track_key.to_numpy())
    place = pd.Series(draw, core.index).groupby(core.user_idx).rank()
    held = place <= np.floor(0.2 * core.groupby("user_idx").track_idx.transform("size") + 0.5)
    return core[~held], core[held]


def matrix(rows: pd.DataFrame, core: pd.DataFrame, values: np.ndarray) -> sparse.csr_matrix:
    shape = core.user_idx.max() + 1, core.track_idx.max() + 1
    return sparse.csr_matrix((values.astype(np.float32), (rows.user_idx, rows.track_idx)), shape=shape)


def recall_at_20(scores: np.ndarray, training: sparse.csr_matrix, test: sparse.csr_matrix) -> float:
    scores = scores.copy()
    scores[training.nonzero()] = -np.inf
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    hits = np.take_along_axis(test.toarray(), top, axis=1).sum(axis=1)
    relevant = np.diff(test.indptr)
    return float((hits[relevant > 0] / relevant[relevant > 0]).mean())


def all_factors(frame, n: int) -> np.ndarray:
    """Return factors by index; zeros for rows whose interactions are all held out."""
    rows = sorted_pandas(frame)
    values = np.zeros((n, WMF.rank), np.float32)
    values[rows.iloc[:, 0]] = np.stack(rows.factors.to_numpy())
    return values


def by_implicit(training: pd.DataFrame, core: pd.DataFrame, settings: WmfSettings) -> tuple[np.ndarray, np.ndarray]:
    model = implicit.als.AlternatingLeastSquares(
        settings.rank, regularization=settings.regularization, alpha=1, iterations=settings.iterations, num_threads=2
    )
    model.user_factors = start(np.arange(core.user_idx.max() + 1), "user", settings)
    model.item_factors = start(np.arange(core.track_idx.max() + 1), "track", settings)
    model.fit(matrix(training, core, 1 + settings.alpha * training.play_count.to_numpy()), show_progress=False)
    return model.user_factors, model.item_factors


def test_recall_beside_implicit_popularity_and_mllib(spark, core, capsys, tmp_path):
    recalls, losses, seconds = defaultdict(list), defaultdict(list), defaultdict(list)
    n_users, n_tracks = core.user_idx.max() + 1, core.track_idx.max() + 1
    for seed in SEEDS:
        training, test = split(core, seed)
        known = matrix(training, core, np.ones(len(training)))
        held = matrix(test, core, np.ones(len(test)))
        popularity = np.repeat(np.asarray(known.sum(axis=0)), n_users, axis=0)
        recalls["popularity"].append(recall_at_20(popularity, known, held))
        plays = spark.createDataFrame(training[["user_idx", "track_idx", "play_count"]]).cache()
        settings = WMF.model_copy(update={"seed": seed})
        like_mllib = {"regularization": mllib.regularization(plays, settings), "regularization_scaling": "frequency"}

        def measure(name: str, fit, known=known, held=held):
            began = time.perf_counter()
            fitted = fit()
            x, y = (
                fitted
                if isinstance(fitted, tuple)
                else (
                    all_factors(fitted.users, n_users),
                    all_factors(fitted.tracks, n_tracks),
                )
            )
            seconds[name].append(time.perf_counter() - began)
            recalls[name].append(recall_at_20(x @ y.T, known, held))
            if not isinstance(fitted, tuple):
                losses[name].append(fitted.losses[-1][1])

        scaled = settings.model_copy(update=like_mllib)
        measure("implicit", lambda: by_implicit(training, core, settings))  # noqa: B023
        measure("blocked", lambda: blocked.fit(plays, settings, str(tmp_path)))  # noqa: B023
        measure("blocked scaled", lambda: blocked.fit(plays, scaled, str(tmp_path)))  # noqa: B023
        measure("mllib", lambda: mllib.fit(plays, scaled, str(tmp_path)))  # noqa: B023
        plays.unpersist()

    mean = {name: float(np.mean(values)) for name, values in recalls.items()}
    figures = {
        "recall@20": mean,
        "by seed": recalls,
        "loss": {name: float(np.mean(values)) for name, values in losses.items()},
        "median seconds": {name: float(np.median(values)) for name, values in seconds.items()},
    }
    with capsys.disabled():
        print("\n" + json.dumps(figures, indent=1))
    assert mean["implicit"] == pytest.approx(0.20, abs=0.02)
    assert mean["popularity"] == pytest.approx(0.085, abs=0.01)
    assert mean["blocked"] == pytest.approx(mean["implicit"], rel=0.02)
    # At the same frequency-scaled lambda MLlib minimises the same objective, from other start values.
    assert np.mean(losses["mllib"]) == pytest.approx(np.mean(losses["blocked scaled"]), rel=0.005)
    assert mean["mllib"] == pytest.approx(mean["blocked scaled"], rel=0.03)
    # With the lambda in place of the unscaled one, its recommendations are about as good.
    assert mean["mllib"] == pytest.approx(mean["implicit"], rel=0.15)
