"""The train job on planted tables: in this process with one rank, and through spark-submit with two of Horovod."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from etude.config import load_settings
from etude.errors import SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.job import Arguments, execute
from etude.lake import Lake, ledger
from etude.lake.runs import Run
from etude.lake.tables import TABLES
from etude.logs import job_logger
from fusion import planted as planting

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import train

pytestmark = pytest.mark.slow
DAY = date(2026, 1, 31)
SETTINGS = [
    "evaluation.protocol=strict",
    *(f"train.{name}={json.dumps(value)}" for name, value in {**planting.TINY, "reader": "petastorm"}.items()),
]


def write_inputs(lake: Lake, planted: planting.Planted) -> None:
    planting.write(lake, planted, load_settings().mel.settings_sha256)
    record_wmf(lake)


def record_wmf(lake: Lake) -> None:
    """What `runs` says of a wmf run that has just written its factors."""
    now = datetime(2026, 1, 31, tzinfo=timezone.utc)
    run = Run("w", "wmf", DAY, "strict", now, ended_at=now, status="succeeded")
    run.outputs["track_factors"] = lake.version("track_factors")
    ledger.write(lake, run)


@pytest.fixture(scope="module")
def planted():
    return planting.plant(150)


@pytest.fixture(scope="module")
def lake(spark, planted, tmp_path_factory) -> Lake:
    made = Lake(str(tmp_path_factory.mktemp("train") / "lake"), spark)
    write_inputs(made, planted)
    return made


def run(lake: Lake, run_id: str, *overrides: str, resume: bool = False):
    settings = load_settings((), [f"lake.root={lake.root}", *SETTINGS, *overrides])
    outcome = execute("train", train.run, lake.spark, Arguments(settings, DAY, run_id, resume), job_logger())
    return outcome.exit_code, json.loads(outcome.line)


def predictions(lake: Lake, run_id: str) -> dict[int, np.ndarray]:
    rows = lake.read("predicted_factors", run_id=run_id).collect()
    assert {row["wmf_run_id"] for row in rows} == {"w"}
    return {row["track_idx"]: np.array(row["factors"]) for row in rows}


def assert_equal(one: dict[int, np.ndarray], other: dict[int, np.ndarray], atol: float) -> None:
    assert one.keys() == other.keys()
    for track in one:
        np.testing.assert_allclose(one[track], other[track], atol=atol)


@pytest.fixture(scope="module")
def first(lake):
    """A whole run: exit status, JSON line and what it predicted."""
    code, line = run(lake, "first")
    return code, line, predictions(lake, "first") if code == 0 else {}


def test_predicts_every_track_with_features_and_says_how_well(lake, planted, first):
    code, line, found = first
    assert code == 0, line
    # Track 0 (and 105: every 105th and 210th) has no artist, tags, year; 0 has no mel either.
    silent = {i for i in range(150) if i % 10 == 0 and i % 7 == 0 and i % 5 == 0 and i % 3 == 0}
    assert set(found) == set(range(150)) - silent
    assert line["rows"]["predicted_factors"] == len(found)
    assert line["rows"]["examples_train"] == sum(planted.split[i] == "train" for i in found)
    assert line["upstream"] == {"wmf": ["w"]}
    assert line["epochs"] == 3
    rows = lake.read("metrics", job="train", run_id="first").collect()
    values = {(row["slice"], row["metric"], row["step"]): row["value"] for row in rows if row["model"] == "fusion"}
    assert {row["model"] for row in rows} == {"fusion", "network", "ridge"}
    assert {row["protocol"] for row in rows} == {"strict"}
    for split in ("train", "validation", "test"):
        tracks = [i for i in found if planted.split[i] == split]
        error = np.mean([(found[i] - planted.factors[i]) ** 2 for i in tracks])
        assert values[split, "mse", 0] == pytest.approx(error, rel=1e-4)
        assert {(split, metric, 0) for metric in ("rmse", "mae", "msle", "msle_left_out")} <= values.keys()
    assert {("validation", "loss", 3), ("train", "loss", 1), ("train", "rows_per_s", 2)} <= values.keys()
    mean = planted.factors[planted.split == "train"].mean(axis=0)
    tests = [i for i in found if planted.split[i] == "test"]
    assert values["test", "mse", 0] < np.mean((planted.factors[tests] - mean) ** 2)


def test_factors_are_the_mean_of_network_and_regression_that_is_best_on_validation_tracks(lake, planted, first):
    rows = {row["track_idx"]: row for row in lake.read("predicted_factors", run_id="first").collect()}
    tracks = [i for i in rows if planted.split[i] == "validation"]
    factors, network, ridge = (np.array([rows[i][name] for i in tracks]) for name in ("factors", "network", "ridge"))
    share, goal = first[1]["network_share"], planted.factors[tracks]
    np.testing.assert_allclose(factors, share * network + (1 - share) * ridge, atol=1e-4)
    errors = {s: np.square(s * network + (1 - s) * ridge - goal).mean() for s in np.linspace(0, 1, 101)}
    assert share == pytest.approx(min(errors, key=errors.get), abs=0.006)


def test_a_share_can_be_set_and_the_regression_can_be_alone(lake, first):
    code, line = run(lake, "alone", "train.network_share=1")
    assert (code, line["network_share"]) == (0, 1)
    rows = lake.read("predicted_factors", run_id="alone").collect()
    assert all(row["factors"] == row["network"] for row in rows)
    code, line = run(lake, "regression", "train.model=ridge")
    assert (code, "checkpoint" in line, "epochs" in line) == (0, False, False)
    found = {row["track_idx"]: row for row in lake.read("predicted_factors", run_id="regression").collect()}
    assert found.keys() == first[2].keys()
    assert all(row["factors"] == row["ridge"] and row["network"] is None for row in found.values())
    assert {row["ridge"] == found[row["track_idx"]]["ridge"] for row in rows} == {True}
    assert {row["model"] for row in lake.read("metrics", job="train", run_id="regression").collect()} == {"ridge"}


def test_the_network_knows_nothing_but_training_tracks(lake, planted, first):
    network = checkpoints.read(first[1]["checkpoint"])
    assert network.origin.track_factors_version == first[1]["inputs"]["track_factors"]
    learned = [i for i in first[2] if planted.split[i] == "train"]
    assert set(network.vocabulary.artists) == {f"a{planted.artist[i]}" for i in learned if i % 7}
    assert set(network.vocabulary.years) == {planted.year[i] for i in learned if i % 3}
    tags = {planting.TAGS[planted.tag[i]] for i in learned if i % 5} | {f"rare{i}" for i in learned if i % 5}
    assert set(network.vocabulary.tags) == tags
    sounds = planted.mel[[i for i in learned if i % 10]]
    for name, values, places in (("target", planted.factors[learned], 0), ("mel", sounds, (0, 2))):
        np.testing.assert_allclose(network.weights[f"{name}_mean"], values.mean(axis=places), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(network.weights[f"{name}_std"], values.std(axis=places), rtol=1e-4)


@pytest.fixture
def planted_again(lake, planted):
    """The factors come back as they were, whatever a test makes of them."""
    yield
    write_inputs(lake, planted)


@pytest.mark.usefixtures("planted_again")
def test_what_is_learned_does_not_depend_on_test_tracks_factors(lake, planted, first):
    altered = planted.factors.copy()
    altered[planted.split == "test"] += 5
    rows = [
        ("w", i, altered[i].tolist(), "fit" if planted.split[i] == "train" else "held_out") for i in range(len(altered))
    ]
    planting.put(lake, "track_factors", rows)
    code, line = run(lake, "first")
    assert code == 0, line
    assert_equal(predictions(lake, "first"), first[2], atol=1e-6)


def test_a_finished_training_can_be_continued_with_more_epochs(lake, first):
    code, line = run(lake, "second", "train.epochs=1")
    assert (code, line["epochs"]) == (0, 1)
    code, line = run(lake, "second", resume=True)
    assert (code, line["epochs"]) == (0, 3)
    assert line["rows"] == first[1]["rows"]
    assert_equal(predictions(lake, "second"), first[2], atol=1e-6)


def test_a_training_is_not_resumed_under_other_settings(lake):
    assert run(lake, "third", "train.epochs=1")[0] == 0
    code, line = run(lake, "third", "train.batch_size=4", resume=True)
    assert code == 2
    assert "train.batch_size was 8, is 4" in line["error"]


def test_too_few_slots_are_seen_before_anything_else_is_done(spark):
    settings = load_settings((), [*SETTINGS, "train.distribution=torch", "train.workers=3"])
    with pytest.raises(SettingsError, match="3 ranks need 3 free task slots, Spark has 2"):
        train.run(SimpleNamespace(spark=spark, settings=settings))


def test_windows_that_are_not_there_are_said_to_be_repeated(lake):
    said = []
    job = SimpleNamespace(
        settings=load_settings((), [*SETTINGS, "train.crops=3"]),
        read=lake.read,
        upstream=lambda _: "w",
        log=SimpleNamespace(warning=lambda text, *values: said.append(text % values)),
    )
    train.known_content(job)
    assert said == ["train.crops=3, but mel has at most 2 per track: they are repeated"]


def test_metadata_alone_is_enough_but_not_for_an_audio_model(lake, planted):
    other = "mel.sample_rate=4000"  # no mel rows were made with these settings
    code, line = run(lake, "deaf", other, "train.epochs=1")
    assert code == 0, line
    assert set(predictions(lake, "deaf")) == {i for i in range(150) if i % 7 or i % 5 or i % 3}
    code, line = run(lake, "cnn", other, "train.model=cnn")
    assert code == 3
    assert line["error"] == "no training track has any input that train.model=cnn reads"


def test_without_a_wmf_run_the_input_is_missing(spark, tmp_path):
    code, line = run(Lake(str(tmp_path / "empty"), spark), "none")
    assert code == 3, line


def record_another_wmf(lake: Lake, planted: planting.Planted, run_id: str, **upstream) -> None:
    """A later wmf run with the same factors and splits, on another basis or on that of the run that it extends."""
    origins = ["fit" if split == "train" else "held_out" for split in planted.split]
    for table, rows in (
        ("track_factors", [(run_id, i, planted.factors[i].tolist(), origins[i]) for i in range(150)]),
        ("splits", [(run_id, "track", i, -1, str(planted.split[i])) for i in range(150)]),
    ):
        names = TABLES[table].column_names
        lake.replace(table, [dict(zip(names, row, strict=True)) for row in rows], run_id=run_id)
    ended = datetime(2026, 1, 31, 1, tzinfo=timezone.utc)
    later = Run(run_id, "wmf", DAY, "strict", ended, ended_at=ended, status="succeeded", upstream=upstream)
    ledger.write(lake, later)


def test_a_network_predicts_for_a_later_run_on_the_same_basis(lake, planted, first):
    record_another_wmf(lake, planted, "folded", wmf=["w"])
    code, line = run(lake, "night", "train.network_run_id=first", "inputs.wmf_run_id=folded")
    assert code == 0, line
    assert line["network_of"] == "first" and line["unknown_artists"] == first[1]["unknown_artists"]
    assert "epochs" not in line and "checkpoint" not in line
    rows = {row["track_idx"]: row for row in lake.read("predicted_factors", run_id="night").collect()}
    before = {row["track_idx"]: row for row in lake.read("predicted_factors", run_id="first").collect()}
    assert rows.keys() == before.keys()
    for track, row in rows.items():
        assert row["wmf_run_id"] == "folded"
        np.testing.assert_allclose(row["network"], before[track]["network"], atol=1e-6)
        np.testing.assert_allclose(row["ridge"], before[track]["ridge"], atol=1e-4)
    models = {row["model"] for row in lake.read("metrics", job="train", run_id="night").collect()}
    assert models == {"fusion", "network", "ridge"}


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (("train.network_run_id=never",), 3, "no succeeded train run of that id"),
        (
            ("train.network_run_id=first", "inputs.wmf_run_id=other"),
            4,
            "the basis of wmf run w, this run's that of other",
        ),
        (("train.network_run_id=first", "train.model=embeddings"), 2, "train.model was fusion, is embeddings"),
        (("train.network_run_id=first", "train.tags_per_track=3"), 2, "the examples' shape was"),
        (("train.network_run_id=first", "mel.sample_rate=4000"), 2, "mel_settings_sha256"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(lake, planted, first, overrides, code, said):
    record_another_wmf(lake, planted, "other")
    found, line = run(lake, "refused", "inputs.wmf_run_id=w", *overrides)
    assert (found, said in line["error"]) == (code, True), line["error"]


def test_a_run_that_is_repeated_without_a_network_has_none_any_more(lake, planted, first):
    assert run(lake, "twice", "train.epochs=1", "inputs.wmf_run_id=w")[0] == 0
    assert run(lake, "twice", "train.model=ridge", "inputs.wmf_run_id=w")[0] == 0
    code, line = run(lake, "later", "train.network_run_id=twice", "inputs.wmf_run_id=w")
    assert (code, "no succeeded train run of that id has trained a network" in line["error"]) == (3, True), line


@pytest.mark.usefixtures("planted_again")
def test_a_network_that_knows_few_artists_is_said_to_need_another(lake, first, caplog):
    rows = lake.look("tracks")
    named = [row for row in rows if row["artist_id"]]
    for row in named[:60]:
        row["artist_id"] = "stranger"
    lake.replace("tracks", rows)
    code, line = run(lake, "aged", "train.network_run_id=first", "inputs.wmf_run_id=w")
    assert (code, line["unknown_artists"]) == (0, pytest.approx(60 / len(named), abs=1e-4)), line
    assert "47% of the artists of tracks are unknown to the network of train run first" in caplog.text
