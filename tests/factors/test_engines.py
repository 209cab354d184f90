"""Test the contract of every engine, and the further guarantees of `blocked`."""

from __future__ import annotations

import logging
import pickle
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dense import dense_loss, small_interactions, sorted_pandas

from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, SettingsError
from etude.factors import blocked, mllib
from etude.factors.blocks import Axis, Block, build_blocks, cut
from etude.factors.engines import ENGINES, choose
from etude.factors.fit import Earlier, Fit, Size, size_limit
from etude.factors.foldin import fold_in
from etude.factors.objective import gram
from etude.factors.start import start
from etude.factors.sweep import HalfSweep
from etude.frames import small_frame
from etude.vectors import SizeLimit, collect

pytestmark = pytest.mark.slow

WMF = WmfSettings(rank=6, iterations=2, confidence="linear", alpha=5, regularization=2, solver="cholesky")
SCALED = WMF.model_copy(update={"regularization_scaling": "frequency", "regularization": 0.2, "iterations": 6})
PLAYED = small_interactions()
NOWHERE = "/dev/null/nothing"
"""The folder of an engine that needs none."""
NO_BARRIER = "dynamic allocation admits no barrier stage"


@pytest.fixture(scope="module")
def plays(frame_of):
    return frame_of(PLAYED, 2).cache()


@pytest.fixture(scope="module")
def fits(plays, tmp_path_factory) -> dict[str, Fit]:
    folder = str(tmp_path_factory.mktemp("fits"))
    return {name: engine(plays, SCALED, folder) for name, engine in ENGINES.items()}


@pytest.fixture(params=ENGINES)
def fit(request, fits) -> Fit:
    return fits[request.param]


def test_every_user_and_track_gets_finite_factors_of_the_rank(fit):
    assert fit.users.dtypes == [("user_idx", "int"), ("factors", "array<float>")]
    assert fit.tracks.dtypes == [("track_idx", "int"), ("factors", "array<float>")]
    for frame, column in ((fit.users, "user_idx"), (fit.tracks, "track_idx")):
        found = sorted_pandas(frame)
        assert list(found[column]) == sorted(PLAYED[column].unique())
        factors = np.stack(found.factors.to_numpy())
        assert factors.shape[1] == SCALED.rank
        assert np.isfinite(factors).all()


def test_the_reported_loss_is_that_of_all_cells(fit):
    iteration, loss = fit.losses[-1]
    assert iteration == SCALED.iterations
    assert loss == pytest.approx(dense_loss(PLAYED, sorted_pandas(fit.users), sorted_pandas(fit.tracks), SCALED), 1e-6)


def test_with_the_same_scaling_the_engines_minimise_the_same_objective(fits):
    """Different start values leave the losses within 2%, far below the loss of zero factors."""
    losses = {name: fit.losses[-1][1] for name, fit in fits.items()}
    assert losses["mllib"] == pytest.approx(losses["blocked"], rel=0.02)
    assert losses["mllib"] < 0.8 * dense_loss_of_nothing()


@pytest.mark.parametrize("name", ["barrier", "blocked"])
def test_a_fit_from_earlier_factors_goes_on_where_they_ended(plays, fits, name, tmp_path):
    """One more iteration from a fit of six is the seventh; who has no earlier factors starts at random."""
    one, seven = (SCALED.model_copy(update={"iterations": n}) for n in (1, 7))
    before = Earlier(fits[name].users, fits[name].tracks, "six")
    found = ENGINES[name](plays, one, str(tmp_path / "one"), earlier=before)
    straight = ENGINES[name](plays, seven, str(tmp_path / "seven"))
    for mine, theirs in ((found.users, straight.users), (found.tracks, straight.tracks)):
        values, expected = (np.stack(sorted_pandas(each).factors.to_numpy()) for each in (mine, theirs))
        assert np.linalg.norm(values - expected) < 1e-5 * np.linalg.norm(expected)
    assert found.losses == [(1, pytest.approx(straight.losses[-1][1], 1e-6))]

    some = Earlier(before.users.where("user_idx > 90"), before.tracks.where("track_idx > 3"), "some")
    partly = ENGINES[name](plays, one, str(tmp_path / "partly"), earlier=some)
    assert partly.users.count() == PLAYED.user_idx.nunique()
    anew = ENGINES[name](plays, one, str(tmp_path / "anew"))
    assert found.losses[0][1] < partly.losses[0][1] < anew.losses[0][1]


def test_mllib_refuses_earlier_factors(plays, fits):
    earlier = Earlier(fits["blocked"].users, fits["blocked"].tracks, "six")
    with pytest.raises(SettingsError, match=r"wmf\.mode=refit with the engine mllib"):
        mllib.fit(plays, SCALED, NOWHERE, earlier=earlier)


def dense_loss_of_nothing() -> float:
    zero = [np.zeros(SCALED.rank)]
    users = pd.DataFrame({"user_idx": np.sort(PLAYED.user_idx.unique())}).assign(factors=lambda f: zero * len(f))
    tracks = pd.DataFrame({"track_idx": np.sort(PLAYED.track_idx.unique())}).assign(factors=lambda f: zero * len(f))
    return dense_loss(PLAYED, users, tracks, SCALED)


def test_mllib_solves_our_frequency_scaled_equations(plays, fits):
    """MLlib's user factors are the closed form on its track factors: folding in gives the same."""
    fit = fits["mllib"]
    tracks = collect(fit.tracks, "track_idx", size_limit(SCALED))
    ours = fold_in(plays, "user_idx", tracks, SCALED)
    assert ours.values == pytest.approx(np.stack(sorted_pandas(fit.users).factors.to_numpy()), rel=1e-3, abs=1e-4)


def test_mllib_gets_lambda_times_rows_over_interactions(plays):
    rows = PLAYED.user_idx.nunique() + PLAYED.track_idx.nunique()
    assert mllib.regularization(plays, WMF) == pytest.approx(2 * rows / (2 * len(PLAYED)))
    assert mllib.regularization(plays, SCALED) == 0.2


@pytest.fixture(scope="module")
def once(plays):
    return blocked.fit(plays, WMF, NOWHERE)


def test_the_loss_of_blocked_falls_every_iteration(fits):
    steps, losses = zip(*fits["blocked"].losses, strict=True)
    assert steps == (1, 2, 3, 4, 5, 6)
    assert list(losses) == sorted(losses, reverse=True)


@pytest.mark.parametrize("name", ["barrier", "blocked"])
def test_a_fit_ends_when_the_loss_falls_little(plays, fits, name, tmp_path):
    losses = [loss for _, loss in fits[name].losses]
    falls = [1 - after / before for before, after in pairwise(losses)]
    tolerance = (falls[1] + falls[2]) / 2  # the fall to the fourth iteration is too small
    assert sorted(falls, reverse=True) == falls
    fit = ENGINES[name](plays, SCALED.model_copy(update={"tolerance": tolerance}), str(tmp_path))
    assert [loss for _, loss in fit.losses] == pytest.approx(losses[:4])
    assert fit.users.count() == fits[name].users.count()


def test_blocked_does_not_depend_on_partitions(once, frame_of, monkeypatch):
    """Fit many small blocks, in 1 or 5 tasks, from interactions in another order."""
    monkeypatch.setattr(cut, "__defaults__", (40,))
    found = [
        blocked.fit(
            frame_of(PLAYED.sample(frac=1, random_state=n), n), WMF.model_copy(update={"partitions": n}), NOWHERE
        )
        for n in (1, 5)
    ]
    users = [np.stack(sorted_pandas(fit.users).factors.to_numpy()) for fit in (*found, once)]
    assert (users[0] == users[1]).all()
    assert users[0] == pytest.approx(users[2], abs=1e-5 * np.linalg.norm(users[2], axis=1).min())


def test_conjugate_gradient_with_many_steps_is_cholesky(once, plays):
    by_steps = blocked.fit(plays, WMF.model_copy(update={"solver": "cg", "cg_steps": 50}), NOWHERE)
    assert by_steps.losses[-1][1] == pytest.approx(once.losses[-1][1], 1e-4)


def test_folding_in_a_training_track_gives_its_fitted_factors(once, plays):
    users = collect(once.users, "user_idx", size_limit(WMF))
    folded = fold_in(plays, "track_idx", users, WMF)
    assert list(folded.idx) == sorted(PLAYED.track_idx.unique())
    fitted = np.stack(sorted_pandas(once.tracks).factors.to_numpy())
    assert folded.values == pytest.approx(fitted, rel=1e-4, abs=1e-6)


def test_folding_in_drops_rows_without_known_neighbours(once, spark):
    users = collect(once.users, "user_idx", size_limit(WMF))
    rows = [(int(users.idx[0]), 1000, 3), (10**6, 1000, 1), (10**6, 1001, 1)]
    folded = fold_in(
        small_frame(spark, rows, "user_idx int, track_idx int, play_count bigint"), "track_idx", users, WMF
    )
    assert list(folded.idx) == [1000]
    nobody = small_frame(spark, rows[1:], "user_idx int, track_idx int, play_count bigint")
    assert fold_in(nobody, "track_idx", users, WMF).values.shape == (0, WMF.rank)


def test_factors_that_are_not_finite_stop_the_fit(plays):
    with pytest.raises(DataCheckError, match=r"iteration 1, users: .* not finite"):
        blocked.fit(plays, WMF.model_copy(update={"alpha": 1e38, "solver": "cg"}), NOWHERE)


def test_factors_over_the_limit_are_refused_before_the_fit_and_auto_chooses_mllib():
    small, large = Size(10, 10), Size(4_000_000, 2_000_000)
    settings = WmfSettings(rank=100, max_broadcast_mb=2048)
    assert choose(lambda: small, settings, NO_BARRIER)[0] == "blocked"
    assert choose(lambda: large, settings, NO_BARRIER) == (
        "mllib",
        f"{NO_BARRIER}; 2,288.8 MB of factors exceed wmf.max_broadcast_mb=2048, or nearly do",
    )
    assert choose(pytest.fail, settings, None)[0] == "barrier"  # without a look at the size
    near = Size(3_200_000, 2_000_000)  # 1,984 MB by approximate counts; blocked would refuse 2,049
    assert choose(lambda: near, settings, NO_BARRIER)[0] == "mllib"
    assert choose(lambda: Size(3_000_000, 2_000_000), settings, NO_BARRIER)[0] == "blocked"
    asked = settings.model_copy(update={"engine": "blocked"})
    with pytest.raises(DataCheckError, match=r"4,000,000 .* 2,000,000 .* 2,289 MB, .*max_broadcast_mb=2048"):
        choose(lambda: large, asked, None)
    assert choose(lambda: small, asked, None) == ("blocked", "set by wmf.engine")


def test_mllib_warns_if_factors_over_the_limit_leave_the_loss_unknown(plays, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("etude"), "propagate", True)
    monkeypatch.setattr(SizeLimit, "size", lambda self, rows, rank: 3000.0)
    with caplog.at_level(logging.WARNING, "etude.wmf"):
        assert mllib.fit(plays, WMF.model_copy(update={"iterations": 1}), NOWHERE).losses == []
    assert "3000 MB" in caplog.text


def test_mllib_has_a_block_per_slot_or_wmf_partitions(plays, monkeypatch):
    asked = []

    class StoppedError(Exception):
        pass

    def als(**settings):
        asked.append((settings["numUserBlocks"], settings["numItemBlocks"]))
        raise StoppedError

    monkeypatch.setattr(mllib, "ALS", als)
    for settings in (WMF, WMF.model_copy(update={"partitions": 7})):
        with pytest.raises(StoppedError):
            mllib.fit(plays, settings, NOWHERE)
    slots = plays.sparkSession.sparkContext.defaultParallelism
    assert asked == [(slots, slots), (7, 7)]


def test_a_block_returns_no_more_than_its_factors():
    """A Gram matrix per block would be larger than the factors of its rows."""
    random = np.random.default_rng(0)
    fixed = random.normal(size=(50, 64)).astype(np.float32)
    block = Block(0, 0, np.array([0, 2, 3]), np.array([4, 9, 0], np.int32), np.ones(3, np.float32))
    half = HalfSweep(SimpleNamespace(value=fixed), gram(fixed), WMF.model_copy(update={"rank": 64}))
    [solved] = half([block])
    assert solved.values.shape == (2, 64)
    assert len(pickle.dumps(tuple(solved))) < solved.values.nbytes + 500


def test_start_values_are_a_function_of_seed_side_and_index():
    idx = np.array([3, 70_000, 9], dtype=np.int32)
    some = start(idx, "user", WMF)
    assert (start(idx[::-1], "user", WMF) == some[::-1]).all()
    assert not (start(idx, "track", WMF) == some).any()
    assert not (start(idx, "user", WMF.model_copy(update={"seed": 2})) == some).any()
    assert ((some >= 0) & (some < 0.01)).all()
    many = start(np.arange(70_000), "user", WMF)  # more than one piece
    assert (many[9] == some[2]).all()
    assert (many[66_000] == start(np.array([66_000]), "user", WMF)[0]).all()


def test_blocks_are_cut_by_cost():
    counts = np.array([1, 1, 1, 500, 1, 1, 1, 90, 90, 90])
    starts = cut(counts, of_row=2, block_cost=100)
    assert starts[0] == 0
    assert starts[-1] == len(counts)
    assert {3, 4} <= set(starts)  # the long row is a block of its own
    per_block = np.add.reduceat(counts + 2, starts[:-1])
    assert per_block[np.arange(len(per_block)) != list(starts).index(3)].max() <= 200
    assert list(cut(np.array([5]), 100)) == [0, 1]


def test_blocks_hold_every_interaction_once_in_order(frame_of):
    frame = frame_of(PLAYED, 4)
    users, tracks = Axis.of(frame, "user_idx"), Axis.of(frame, "track_idx")
    blocks = build_blocks(frame, "user_idx", users, tracks, lambda r: r.astype(np.float32), 6, None)
    found = []
    for block in blocks.collect():
        rows = np.repeat(np.arange(block.start, block.start + len(block)), np.diff(block.indptr))
        found += zip(users.idx[rows], tracks.idx[block.columns], block.weights, strict=True)
        for row in range(len(block)):
            assert (np.diff(block.columns[block.indptr[row] : block.indptr[row + 1]]) > 0).all()
    assert sorted(found) == sorted(PLAYED.itertuples(index=False, name=None))
    blocks.unpersist()
