"""The comparison as a whole, on a tiny conservatoire: what it trains, judges, shows, and what a second one repeats."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from etude.causes import NOT_FINITE
from etude.comparison.trials import MODELS, Trial, rates
from etude.config import load_settings
from etude.config.compare import CompareSettings
from etude.config.demo import DemoSettings
from etude.demo.corpus import build
from etude.errors import DataCheckError, InputMissingError
from etude.job import Arguments, execute
from etude.lake import Lake, ledger
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import compare
import topn

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 1, 31)
pytestmark = pytest.mark.slow
CORPUS = DemoSettings(
    users=60, tracks=60, events=4000, bad_audio=0.05, mislabelled_audio=0, without_audio=0, bad_rows=0, processes=1
)
SMALL = [
    *("wmf.rank=4", "wmf.iterations=2", "evaluation.k=[5,10]", "evaluation.test_tracks=0.3"),
    *("train.epochs=2", "train.distribution=single", "train.reader=arrow", "train.channels=[4,4,4]"),
    *("train.lstm_units=4", "train.audio_size=4", "train.artist_size=4", "train.tag_size=4", "train.mlp=[8,4]"),
    *("compare.seeds=[1,2]", "compare.models=[fusion]", "compare.learning_rates=[0.001,1e30]"),
    *("compare.protocols=[strict]", "compare.replicates=100", "compare.parts=[table1,figure2,figure3]"),
    *("topn.n=10", "evaluation.neighbour_tracks=0"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("compare")
    assert build(made / "landing", CORPUS)
    layer = OmegaConf.to_yaml(OmegaConf.load(ROOT / "conf" / "demo.yaml"))
    (made / "demo.yaml").write_text(layer.replace("build/demo", str(made)))
    return made


@pytest.fixture(scope="module")
def run(spark, folder):
    def run(name, body, run_id, *overrides, day=DAY):
        more = [f"compare.path={folder}/page/results.md", f"compare.corpora={folder}/knobs", *SMALL, *overrides]
        settings = load_settings([folder / "demo.yaml"], more)
        outcome = execute(name, body, spark, Arguments(settings, day, run_id), job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    return run


@pytest.fixture(scope="module")
def first(run):
    code, line = run("compare", compare.run, "c")
    assert code == 0, line
    return line


@pytest.fixture(scope="module")
def results(first, folder):
    return json.loads((folder / "page" / "results.json").read_text())


def attempts(lake: Lake) -> dict[str, int]:
    return {row["run_id"]: row["attempt"] for row in lake.look("runs", ["run_id", "attempt"], job="train")}


def test_every_network_is_trained_once_per_seed_and_stands_on_the_page(first, folder, results):
    lake = Lake(str(folder / "lake"))
    names = [f"c-strict-{name}-{seed}" for name in ("fusion", "rate_0.001", "rate_1e+30") for seed in (1, 2)]
    assert set(attempts(lake)) == set(names)
    assert first["rows"] == {"trials": 6, "trials_diverged": 2}
    assert set(results["figures"]["strict"]) == {
        *("fusion", "chance", "artist_mean", "ridge", "true_factors"),
    }
    page = (folder / "page" / "results.md").read_text()
    assert "| 1e+30 | | | | | | | 2 of 2 seeds |" in page and "| 0.001 |" in page
    assert first["results"] == (folder / "page" / "results.md").as_uri()


def test_errors_are_those_that_train_measured(folder, results):
    """With every track heard, all networks predict all tracks, and train's own figures are over the same cells."""
    lake = Lake(str(folder / "lake"))
    for name in ("mse", "rmse", "mae"):
        rows = lake.look("metrics", job="train", model="network", slice="test", metric=name)
        of_fusion = [row["value"] for row in rows if row["run_id"].startswith("c-strict-fusion")]
        assert len(of_fusion) == 2
        assert results["figures"]["strict"]["fusion"][name]["value"] == pytest.approx(sum(of_fusion) / 2, rel=0.2)


def test_lists_are_those_that_topn_measures(run, first, folder, results):
    """The same users, candidates and plays: one training's figures are what topn says of its network on new tracks.

    Not of the artists' means: topn breaks their ties by the index, and the comparison by chance.
    """
    lake, found = Lake(str(folder / "lake")), {}
    for seed in (1, 2):
        inputs = (f"inputs.train_run_id=c-strict-fusion-{seed}", "inputs.wmf_run_id=c-strict")
        code, line = run("topn", topn.run, f"t{seed}", "evaluation.protocol=strict", "topn.factors=separate", *inputs)
        assert code == 0, line
        for row in lake.look("metrics", job="topn", run_id=f"t{seed}", slice="cold"):
            found.setdefault((row["model"], row["metric"], row["k"]), []).append(row["value"])
    for model, name in (("fusion", "fusion"), ("true_factors", "true_factors")):
        mine = results["figures"]["strict"][name]
        assert mine["auc"]["value"] == pytest.approx(sum(found[model, "auc", 0]) / 2, rel=1e-4)
        for metric in ("precision", "recall", "f1"):
            assert mine[f"{metric}@5"]["value"] == pytest.approx(sum(found[model, metric, 5]) / 2, rel=1e-4), metric


def test_a_second_comparison_trains_what_is_missing_only_on_any_day(run, first, folder):
    lake = Lake(str(folder / "lake"))
    before = attempts(lake)
    killed = ledger.find(lake, "train", "c-strict-fusion-2")
    killed.status, killed.ended_at = "running", None  # as a killed run leaves it
    ledger.write(lake, killed)
    code, line = run("compare", compare.run, "c", day=date(2026, 2, 1))
    assert code == 0, line
    again = {name for name, n in attempts(lake).items() if n > before[name]}
    # What stopped being finite is tried again: it has not succeeded.
    assert again == {"c-strict-fusion-2", "c-strict-rate_1e+30-1", "c-strict-rate_1e+30-2"}


def test_a_trial_is_never_chosen_by_another_run(run, first):
    code, line = run("topn", topn.run, "other", "evaluation.protocol=strict", "topn.factors=separate")
    assert code == InputMissingError.exit_code
    assert "no succeeded wmf run" in line["error"]


def test_knobs_have_corpora_and_lakes_of_their_own(run, first, folder, results):
    sizes = ("demo.users=60", "demo.tracks=60", "demo.events=4000", "demo.processes=1", "demo.without_audio=0")
    knobs = ("compare.parts=[knobs]", "compare.audible_shares=[0.9]", "compare.seeds=[1]", *sizes)
    code, line = run("compare", compare.run, "k", *knobs, f"compare.path={folder}/page/knobs.md")
    assert code == 0, line
    found = json.loads((folder / "page" / "knobs.json").read_text())["knobs"]
    assert found["0.9"].keys() >= {"cnn_lstm", "embeddings", "fusion", "chance", "true_factors"}
    other = Lake(str(folder / "knobs" / "audible-0.9" / "lake"))
    assert set(attempts(other)) == {f"k-strict-{name}-1" for name in ("cnn_lstm", "embeddings", "fusion")}
    assert not any(name.startswith("k-") for name in attempts(Lake(str(folder / "lake"))))

    # Another corpus under the same name has a lake of its own: plays of the earlier one aren't in it.
    code, line = run("compare", compare.run, "k", *knobs, "demo.seed=2", f"compare.path={folder}/page/knobs.md")
    assert code == 0, line
    expected = json.loads((folder / "knobs" / "audible-0.9" / "expected.json").read_text())
    assert Lake(str(folder / "knobs" / "audible-0.9" / "lake")).count("plays") == expected["plays"]["kept"]


def test_a_lake_without_content_is_refused_before_anything_is_fitted(run, first, folder):
    bare = ("catalogue.sources=[]", "audio.manifest=null", f"lake.root={folder}/bare")
    code, line = run("compare", compare.run, "bare", *bare)
    assert (code, "nothing to train on; set catalogue.sources" in line["error"]) == (3, True), line
    assert {row["job"] for row in Lake(f"{folder}/bare").look("runs")} == {"ingest", "compare"}


@pytest.mark.parametrize(("said", "diverged"), [(f"train: {NOT_FINITE} in epoch 1", True), ("too few rows", False)])
def test_only_a_loss_that_is_not_finite_is_a_result_of_a_learning_rate(monkeypatch, said, diverged):
    def fails(job, step):
        raise error

    error = DataCheckError(f"train run c failed: {said}")
    monkeypatch.setattr(compare, "run_step", fails)
    monkeypatch.setattr(compare.steps, "train_step", lambda *_: None)
    rate = Trial(rates(CompareSettings())[0], "strict", 1)
    if diverged:
        assert not compare.stayed_finite(None, None, rate)
    else:
        with pytest.raises(DataCheckError):
            compare.stayed_finite(None, None, rate)
    with pytest.raises(DataCheckError):
        compare.stayed_finite(None, None, Trial(MODELS["cnn"], "strict", 1))
