"""The blend job on tables made by hand."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from etude.config import load_settings, redacted
from etude.errors import DataCheckError
from etude.job import Arguments, execute
from etude.lake import Lake, releases
from etude.lake.runs import Run
from etude.lake.tables import RUNS
from etude.logs import job_logger
from small_lake import fill

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import blend
import topn
import wmf

pytestmark = pytest.mark.slow

DAY = date(2026, 1, 31)
START = datetime(2020, 1, 1, tzinfo=timezone.utc)
USERS, PLAYED, TRACKS, RANK = 30, 25, 32, 4
KNOWN = range(0, TRACKS, 2)
"""Tracks that content knows."""
SETTINGS = (f"wmf.rank={RANK}", "wmf.solver=cholesky", "wmf.iterations=3", "wmf.regularization=2", "wmf.alpha=5")
GIVEN = ("blend.weight=3", "blend.played_length=1.5", "blend.unplayed_length=0.7")


def world(lake: Lake) -> dict[tuple[int, int], int]:
    """Fill a lake as ingest leaves it: plays from 2020-01-01 on; return (user, track) -> play count."""
    plays = {(u, t): 1 + (u * t) % 3 for u in range(USERS) for t in range(PLAYED) if (u * 5 + t * 3) % 4 == 0}
    times = {pair: START + timedelta(days=number) for number, pair in enumerate(sorted(plays))}
    fill(lake, "users", [(f"u{u}", u) for u in range(USERS)])
    fill(lake, "tracks", [(f"t{t}", t) for t in range(TRACKS)], ("track_id", "track_idx"))
    events = [
        (f"{u} {t}", f"u{u}", f"t{t}", times[u, t], n, "log", DAY, DAY, "log.csv", 1) for (u, t), n in plays.items()
    ]
    fill(lake, "plays", events, ("event_id", "user_id", "track_id", "played_at", "play_count", "source", "batch_date",
                                 "counted_on", "file", "record"))  # fmt: skip
    pairs = [(u, t, n, times[u, t], times[u, t]) for (u, t), n in plays.items()]
    fill(lake, "interactions", pairs)
    return plays


def write_train(lake: Lake, protocol: str, wmf_run: str, tracks=KNOWN) -> np.ndarray:
    """Write a train run `net` that predicts factors in the space of a wmf run; return them by track."""
    g = np.random.default_rng(8).normal(0, 0.3, (TRACKS, RANK)).astype(np.float32)
    fill(lake, "predicted_factors", [(protocol, t, *[g[t].tolist()] * 3, wmf_run) for t in tracks])
    now = datetime.now(timezone.utc)
    run = Run(protocol, "train", DAY, protocol, now, settings=redacted(load_settings()), ended_at=now)
    run.status, run.upstream = "succeeded", {"wmf": [wmf_run]}
    known = [row for row in lake.look("runs") if (row["job"], row["run_id"]) != ("train", protocol)]
    fill(lake, "runs", [tuple(row[name] for name in RUNS.column_names) for row in (*known, run.as_row())])
    return g


def start(job, lake, protocol, *overrides, run_id=None):
    given = (f"lake.root={lake.root}", f"evaluation.protocol={protocol}", *SETTINGS, *overrides)
    arguments = Arguments(load_settings((), given), DAY, run_id or protocol)
    outcome = execute(job.__name__, job.run, lake.spark, arguments, job_logger())
    return outcome.exit_code, json.loads(outcome.line)


@pytest.fixture(scope="module", params=["none", "strict"])
def blended(request, spark, tmp_path_factory):
    """A lake after wmf, train and blend under a protocol; the plays, the predictions, and the JSON line."""
    lake = Lake(str(tmp_path_factory.mktemp("blend") / "lake"), spark)
    plays = world(lake)
    assert start(wmf, lake, request.param)[0] == 0
    g = write_train(lake, request.param, request.param)
    code, line = start(blend, lake, request.param, *GIVEN)
    assert code == 0
    return request.param, lake, plays, g, line


def by_track(lake, table, run_id):
    return {row["track_idx"]: row for row in lake.look(table, run_id=run_id)}


def trained_on(lake, protocol, plays):
    """The interactions that the protocol leaves for training, by the table splits."""
    rows = lake.look("splits", run_id=protocol)
    held = {row["track_idx"] for row in rows if row["kind"] == "track" and row["split"] != "train"}
    withheld = {(row["user_idx"], row["track_idx"]) for row in rows if row["kind"] == "play"}
    if protocol != "strict":
        return plays, set()
    assert held and withheld
    return {pair: n for pair, n in plays.items() if pair[1] not in held and pair not in withheld}, held


def test_every_track_has_factors_and_says_on_how_many_listeners_they_rest(blended):
    protocol, lake, plays, _, line = blended
    rows = by_track(lake, "blended_track_factors", protocol)
    training, _ = trained_on(lake, protocol, plays)
    assert sorted(rows) == list(range(TRACKS))
    assert {t: row["listeners"] for t, row in rows.items()} == {
        t: sum(track == t for _, track in training) for t in range(TRACKS)
    }
    assert line["rows"]["blended_track_factors"] == TRACKS
    assert line["rows"]["tracks_without_content"] == TRACKS - len(KNOWN)
    assert line["upstream"] == {"wmf": [protocol], "train": [protocol]}


def check_equations(lake, run_id, wmf_run, training, g, alpha=5.0, regularization=2.0):
    """Check that every track solves its equations over all cells, as if with GIVEN."""
    rows = by_track(lake, "blended_track_factors", run_id)
    users = {row["user_idx"]: row["factors"] for row in lake.look("user_factors", run_id=wmf_run)}
    x = np.array([users[u] for u in sorted(users)])
    place = {u: number for number, u in enumerate(sorted(users))}
    fitted = [r["factors"] for r in lake.look("track_factors", run_id=wmf_run) if r["origin"] == "fit"]
    mean, weight = np.mean(fitted, axis=0), 3 * regularization
    for t, row in rows.items():
        prior = g[t] if t in KNOWN else mean
        c, p = np.ones(len(x)), np.zeros(len(x))
        for (u, track), n in training.items():
            if track == t:
                c[place[u]], p[place[u]] = 1 + alpha * np.log1p(n), 1
        left = x.T @ (c[:, None] * x) + (regularization + weight) * np.eye(RANK)
        solved = np.linalg.solve(left, x.T @ (c * p) + weight * 1.5 * prior)
        assert row["factors"] == pytest.approx(solved if row["listeners"] else 0.7 * prior, rel=1e-3, abs=1e-4), t


def test_tracks_solve_their_equations_over_all_cells_on_the_fits_users(blended):
    protocol, lake, plays, g, _ = blended
    training, _ = trained_on(lake, protocol, plays)
    check_equations(lake, protocol, protocol, training, g)


def test_after_a_refit_tracks_are_weighed_as_the_refit_did(spark, tmp_path):
    lake = Lake(str(tmp_path / "lake"), spark)
    plays = world(lake)
    assert start(wmf, lake, "none", run_id="first")[0] == 0
    others = ("wmf.mode=refit", "inputs.wmf_run_id=first", "wmf.alpha=9", "wmf.regularization=0.5")
    assert start(wmf, lake, "none", *others, run_id="again")[0] == 0
    g = write_train(lake, "none", "again")
    assert start(blend, lake, "none", "inputs.wmf_run_id=again", *GIVEN)[0] == 0
    check_equations(lake, "none", "again", plays, g, alpha=9.0, regularization=0.5)


def test_a_second_run_gives_the_same(blended):
    protocol, lake, *_ = blended
    before = by_track(lake, "blended_track_factors", protocol)
    assert start(blend, lake, protocol, *GIVEN)[0] == 0
    after = by_track(lake, "blended_track_factors", protocol)
    assert sorted(after) == sorted(before)
    for t, row in after.items():
        assert row["factors"] == pytest.approx(before[t]["factors"], rel=1e-5, abs=1e-6)


def test_an_evaluated_run_chooses_and_others_take_its_choice(spark, tmp_path):
    lake = Lake(str(tmp_path / "lake"), spark)
    plays = world(lake)
    chosen = {}
    for protocol in ("none", "strict", "none"):
        assert start(wmf, lake, protocol, "evaluation.validation_plays=0.3")[0] == 0
        write_train(lake, protocol, protocol)
        code, chosen[protocol, len(chosen)] = start(blend, lake, protocol)
        assert code == 0
    before, evaluated, after = chosen.values()
    assert before["choice"] == {"weight": 3.0, "played_length": 2.0, "unplayed_length": 0.5}, "the defaults"
    assert "blend" not in before["upstream"]
    assert evaluated["rows"]["sampled_users"] > 0 and 0 < evaluated["new_share"] < 1
    assert set(evaluated["choice"]) == set(before["choice"])
    _, held = trained_on(lake, "strict", plays)
    gains = {row["slice"]: row["value"] for row in lake.look("metrics", run_id="strict", job="blend")}
    assert gains.keys() == {"warm", "cold"} and all(0 < gain <= 1 for gain in gains.values()), held
    assert after["choice"] == evaluated["choice"]
    assert after["upstream"]["blend"] == ["strict"]
    given = start(blend, lake, "none", "blend.weight=9")[1]["choice"]
    assert given == {**evaluated["choice"], "weight": 9.0}


def test_predictions_in_the_space_of_another_fit_are_refused(blended, caplog):
    protocol, lake, *_ = blended
    assert start(wmf, lake, protocol, "wmf.seed=2", run_id="other")[0] == 0
    code, line = start(blend, lake, protocol, "inputs.wmf_run_id=other", f"inputs.train_run_id={protocol}", run_id="x")
    assert code == DataCheckError.exit_code
    assert "no common basis" in line["error"]
    assert lake.count("blended_track_factors", run_id="x") == 0


def test_lists_rank_the_blended_factors_of_all_tracks(blended):
    protocol, lake, plays, *_ = blended
    code, line = start(topn, lake, protocol, f"topn.n={TRACKS}", "evaluation.k=[5]")
    assert code == 0
    assert line["upstream"] == {job: [protocol] for job in ("wmf", "train", "blend")}
    tracks = by_track(lake, "blended_track_factors", protocol)
    training, held = trained_on(lake, protocol, plays)
    candidates = {t for t, row in tracks.items() if protocol == "none" or row["listeners"] or t in held}
    x = {row["user_idx"]: np.array(row["factors"]) for row in lake.look("user_factors", run_id=protocol)}
    listed: dict[int, dict[int, dict]] = {}
    for row in lake.look("recommendations", run_id=protocol):
        listed.setdefault(row["user_idx"], {})[int(row["track_id"][1:])] = row
    for user, rows in listed.items():
        heard = {t for u, t in training if u == user}
        if protocol == "none":
            assert set(rows) == candidates - heard
        for t, row in rows.items():
            assert row["score"] == pytest.approx(x[user] @ tracks[t]["factors"], abs=1e-5)
            listeners = tracks[t]["listeners"]
            assert row["source"] == ("warm" if listeners > 3 else "light" if listeners else "cold")
    if protocol == "strict":
        models = {row["model"] for row in lake.look("metrics", run_id=protocol, job="topn")}
        assert {"blend", "fusion", "plays_only", "content_only", "same_artist", "ridge", "true_factors"} <= models
    else:
        release = releases.current(lake)
        assert release is not None
        assert release.run_of("blend") == protocol
        assert release.run_ids["blended_track_factors"] == protocol


def test_separate_factors_can_be_ranked_instead(blended):
    protocol, lake, *_ = blended
    code, line = start(
        topn, lake, protocol, "topn.factors=separate", f"inputs.wmf_run_id={protocol}", run_id="separate"
    )
    assert (code, line["upstream"]) == (0, {"wmf": [protocol], "train": [protocol]})


def test_a_blend_of_a_fit_that_has_run_again_is_not_ranked(blended):
    """Last in this file: the fit is replaced."""
    protocol, lake, *_ = blended
    assert start(wmf, lake, protocol)[0] == 0
    again = f"inputs.wmf_run_id={protocol}"
    code, line = start(topn, lake, protocol, again, run_id="after")
    assert (code, line["upstream"]) == (0, {"wmf": [protocol]})
