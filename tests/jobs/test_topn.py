"""The topn job on tables made by hand, and on the real log through spark-submit."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import functions as F

from etude.config import load_settings, redacted_json
from etude.job import Arguments, execute
from etude.lake import Lake
from etude.lake.ledger import RunRecord
from etude.lake.tables import RUNS, TABLES
from etude.logs import job_logger
from small_lake import arrow_type

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import topn

DAY = date(2026, 1, 31)
USERS, TRACKS, RANK = 12, 30, 3
TRAIN, VALIDATION, TEST = range(20), range(20, 23), range(23, 29)  # 29 was never played


pytestmark = pytest.mark.slow


def succeeded(job, run_id, protocol, **train):
    """A row of `runs`."""
    settings = redacted_json(load_settings((), [f"train.{name}={value}" for name, value in train.items()]))
    now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    record = RunRecord(run_id, job, DAY, protocol, settings, "0", now, ended_at=now, status="succeeded")
    return tuple(getattr(record, name) for name in RUNS.column_names)


def factor_rows(rng, indices, scale=1.0):
    return {int(i): (rng.normal(size=RANK) * scale).tolist() for i in indices}


def write(root, table, rows):
    """Make a table of rows that hold its first columns, or those of COLUMNS."""
    spec = TABLES[table]
    schema = pa.schema([pa.field(column.name, arrow_type(column.type), column.nullable) for column in spec.columns])
    names = COLUMNS.get(table, spec.column_names)
    filled = [{**dict.fromkeys(spec.column_names), **dict(zip(names, row, strict=False))} for row in rows]
    write_deltalake(f"{root}/{table}", pa.Table.from_pylist(filled, schema), partition_by=list(spec.partition_by))


COLUMNS = {"tracks": ("track_id", "track_idx", "artist_id", "origins")}


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory):
    """A lake with a strict and a none run of wmf and train; user 11 has no factors, user 0 no test plays."""
    lake = Lake(spark, str(tmp_path_factory.mktemp("topn") / "lake"))
    rng = np.random.default_rng(5)
    plays = {(u, t): 1 + (u * t) % 4 for u in range(1, USERS - 1) for t in range(TRACKS - 1) if (u * 7 + t * 3) % 4 < 2}
    plays |= {(0, t): 2 for t in (1, 2, 3)}
    held = [(u, t) for u, t in plays if u and t in TRAIN and (u + t) % 5 == 0]
    rows = {
        "users": [(f"user {u}", u) for u in range(USERS)],
        "tracks": [(f"T{t}", t, f"Artist {t % 5}", []) for t in range(TRACKS)],
        "interactions": [(*pair, count) for pair, count in plays.items()],
        **{name: [] for name in ("track_factors", "user_factors", "predicted_factors", "splits", "runs")},
    }
    for run, protocol in (("strict", "strict"), ("night", "none")):
        x, y, guess = (factor_rows(rng, r) for r in (range(USERS - 1), range(TRACKS), range(TRACKS)))
        known = range(20) if protocol == "strict" else range(29)
        rows["track_factors"] += [(run, t, y[t], "fit" if t in known else "held_out") for t in range(29)]
        rows["user_factors"] += [(run, u, x[u], "fit") for u in x]
        rows["predicted_factors"] += [(run, t, guess[t], run) for t in range(TRACKS)]
        names = {**dict.fromkeys(TRAIN, "train"), **dict.fromkeys(VALIDATION, "validation")}
        names |= dict.fromkeys(TEST, "test" if protocol == "strict" else "train")
        rows["splits"] += [(run, "track", t, -1, name) for t, name in names.items()]
        rows["splits"] += [(run, "play", t, u, "test") for u, t in held] if protocol == "strict" else []
        rows["runs"] += [succeeded("wmf", run, protocol), succeeded("train", run, protocol, model="cnn_lstm", seed=3)]
    for table, values in rows.items():
        write(lake.root, table, values)
    lake.plays, lake.held = plays, set(held)
    return lake


@pytest.fixture
def start(made):
    def run(run_id="strict", protocol="strict", *overrides):
        settings = load_settings(
            (),
            [f"lake.root={made.root}", f"evaluation.protocol={protocol}", "evaluation.k=[3,6]", "topn.n=6", *overrides],
        )
        outcome = execute("topn", topn.run, made.spark, Arguments(settings, DAY, run_id), job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    return run


def lists_of(lake, run_id):
    rows = lake.read("recommendations", run_id=run_id).orderBy("user_idx", "position").collect()
    lists = {}
    for row in rows:
        lists.setdefault(row["user_idx"], []).append(row)
    for listed in lists.values():
        assert [row["position"] for row in listed] == list(range(1, len(listed) + 1))
    return lists


def figures_of(lake, run_id):
    rows = lake.read("metrics", run_id=run_id, job="topn").collect()
    return {(r["model"], r["slice"], r["metric"], r["k"]): r["value"] for r in rows}


def test_a_strict_run_lists_warm_and_test_tracks_and_measures_them(made, start):
    code, line = start()
    assert (code, line["error"] if code else None) == (0, None)
    lists = lists_of(made, "strict")
    assert {user: len(listed) for user, listed in lists.items()} == dict.fromkeys(range(USERS), 6)
    for user, listed in lists.items():
        tracks = {int(row["track_id"][1:]) for row in listed}
        heard = {t for u, t in made.plays if u == user and t in TRAIN and (u, t) not in made.held}
        assert not tracks & heard
        assert tracks <= {*TRAIN, *TEST}
        expected = {t: "popularity" if user == 11 else "cold" if t in TEST else "warm" for t in tracks}
        assert {int(row["track_id"][1:]): row["source"] for row in listed} == expected
    found = figures_of(made, "strict")
    assert found["cnn_lstm", "cold", "users", 0] == USERS - 2
    assert found["cnn_lstm", "all", "users_left_out", 0] == 1
    assert found["popularity", "cold", "auc", 0] == 0.5
    assert 0 < found["cnn_lstm", "warm", "recall", 6] <= 1
    assert found["cnn_lstm", "all", "cold_share", 6] > 0
    assert {model for model, *_ in found} == {
        *("cnn_lstm", "random", "popularity", "artist_popularity", "same_artist", "true_factors")
    }
    seeds = {(r["model"], r["seed"]) for r in made.read("metrics", job="topn").select("model", "seed").collect()}
    assert ("cnn_lstm", 3) in seeds
    assert made.read("current").count() == 0
    assert line["rows"]["recommendations"] == USERS * 6
    assert (line["rows"]["candidates"], line["rows"]["candidates_cold"]) == (26, 6)
    assert line["upstream"] == {"wmf": "strict", "train": "strict"}


def test_a_rerun_leaves_the_same(made, start):
    start()
    before = made.read("recommendations", run_id="strict").collect(), figures_of(made, "strict")
    start()
    assert sorted(made.read("recommendations", run_id="strict").collect()) == sorted(before[0])
    assert figures_of(made, "strict") == before[1]


def test_a_none_run_comes_into_force_with_what_it_came_from(made, start):
    code, _ = start("lists", "none", "inputs.wmf_run_id=night", "inputs.train_run_id=night")
    assert code == 0
    current = {row["table"]: row["run_id"] for row in made.read("current").collect()}
    assert current == {
        "recommendations": "lists",
        "user_factors": "night",
        "track_factors": "night",
        "predicted_factors": "night",
    }
    listed = {row["track_id"] for rows in lists_of(made, "lists").values() for row in rows if row["source"] == "cold"}
    assert listed <= {"T29"}
    assert figures_of(made, "lists") == {}


def test_factors_of_two_fits_are_not_mixed(made, start):
    before = made.version("recommendations")
    code, line = start("mixed", "strict", "inputs.wmf_run_id=strict", "inputs.train_run_id=night")
    assert code == 4
    assert "night" in line["error"]
    assert "no common basis" in line["error"]
    assert made.version("recommendations") == before


def test_without_a_train_run_lists_are_warm(made, start):
    def wmf_alone(protocol):
        runs = [succeeded("wmf", "alone", protocol)]
        made.replace("runs", made.spark.createDataFrame(runs, RUNS.schema))

    for table in ("user_factors", "track_factors", "splits"):
        rows = made.read(table, run_id="strict").withColumn("run_id", F.lit("alone"))
        made.replace(table, rows, run_id="alone")
    wmf_alone("paper")
    assert start("alone", "paper")[0] == 3  # paper has nothing else to list
    wmf_alone("strict")
    code, line = start("alone", "strict")
    assert (code, line["upstream"]) == (0, {"wmf": "alone"})
    sources = {row["source"] for rows in lists_of(made, "alone").values() for row in rows}
    assert sources == {"warm", "popularity"}
    assert ("same_artist", "cold", "auc", 0) in figures_of(made, "alone")


def test_without_a_wmf_run_the_input_is_missing(start):
    code, line = start("early", "strict", "inputs.wmf_run_id=none-such")
    assert code == 3
    assert "none-such" in line["error"]


CATALOGUES = """
catalogue:
  sources:
    - {path: DATA/listening/taste_profile_with_metadata.csv,
       columns: {track: song_id, title: title, artist_name: artist_name, release_year: year}}
"""


@pytest.mark.real
def test_the_real_triplets_strict_without_a_network(real_data, submit, tmp_path):
    """Warm: the factors beat popularity by half. Cold: the same-artist mean beats chance, far under the bound."""
    config = tmp_path / "triplets.yaml"
    config.write_text(CATALOGUES.replace("DATA", str(real_data)))
    common = ["--config", str(config), "--run-id", "r", f"lake.root={tmp_path / 'lake'}", "evaluation.protocol=strict"]
    core = ["listening.min_plays_per_user=5", "listening.min_plays_per_track=5"]
    log = [f"listening.path={real_data / 'listening' / 'taste_profile_triplets.tsv'}", "listening.format=taste-profile"]
    wmf = ["wmf.rank=50", "wmf.confidence=linear", "wmf.alpha=5", "wmf.regularization=10"]
    for job, arguments in (("ingest", [*log, *core]), ("wmf", wmf), ("topn", ["evaluation.k=[5,20]", "topn.n=20"])):
        done = submit(job, *common, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["rows"]["users"] == 1630
    assert line["rows"]["recommendations"] == 1630 * 20
    rows = pl.read_delta(str(tmp_path / "lake" / "metrics")).filter(pl.col("job") == "topn").to_dicts()
    found = {(r["model"], r["slice"], r["metric"], r["k"]): r["value"] for r in rows}
    recall = {model: found[model, "warm", "recall", 20] for model in ("wmf", "popularity", "random")}
    assert 0.16 < recall["wmf"] < 0.28
    # Seen: 0.177, 0.101 and 0.011, with 30% of the tracks and 30% of the others' plays withheld.
    assert recall["wmf"] > 1.5 * recall["popularity"] > 6 * recall["random"]
    auc = {model: found[model, "cold", "auc", 0] for model in ("random", "popularity", "same_artist", "true_factors")}
    assert auc["random"] == pytest.approx(0.5, abs=0.03)
    assert auc["popularity"] == 0.5
    assert 0.58 < auc["same_artist"] < 0.72
    assert auc["true_factors"] > 0.9
