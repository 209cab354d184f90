"""The wmf job on tables made by hand."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable

import small_lake
from etude.config import load_settings
from etude.factors.foldin import fold_in_row
from etude.hashing import id_keys, uniforms
from etude.job import Arguments, execute
from etude.lake import Lake
from etude.lake.tables import TABLES
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import wmf

pytestmark = pytest.mark.slow

FIRST, SECOND = date(2026, 1, 30), date(2026, 1, 31)
USERS, TRACKS = 40, 30
SMALL = ("wmf.rank=4", "wmf.iterations=2", "wmf.solver=cholesky")


def plays_of(day: date, users: range, tracks: range, seed: int) -> list[tuple]:
    random = np.random.default_rng(seed)
    return [
        (f"u{u}", f"t{t}", datetime.combine(day, datetime.min.time()) + timedelta(minutes=u * 30 + t), 1 + u % 3, day)
        for u in users
        for t in tracks
        if random.random() < 0.3 or (u + t) % 7 == 0
    ]


def fill(lake: Lake, plays: list[tuple]) -> None:
    """Tables as ingest leaves them."""
    rows = pd.DataFrame(plays, columns=["user_id", "track_id", "played_at", "play_count", "batch_date"])
    rows["played_at"] = rows.played_at.dt.tz_localize("UTC")
    event = rows.user_id + rows.track_id + rows.played_at.astype(str)
    put(lake, "plays", rows.assign(event_id=event, source="log", counted_on=rows.batch_date, file="log.csv", record=1))
    put(lake, "users", pd.DataFrame({"user_id": [f"u{n}" for n in range(60)], "user_idx": range(60)}))
    put(lake, "tracks", pd.DataFrame({"track_id": [f"t{n}" for n in range(60)], "track_idx": range(60)}))
    indexed = rows.assign(user_idx=rows.user_id.str[1:].astype(int), track_idx=rows.track_id.str[1:].astype(int))
    summed = indexed.groupby(["user_idx", "track_idx"]).agg(
        play_count=("play_count", "sum"), first_played_at=("played_at", "min"), last_played_at=("played_at", "max")
    )
    put(lake, "interactions", summed.reset_index())


def put(lake: Lake, table: str, rows: pd.DataFrame) -> None:
    """Replace a table without Spark; columns not given are null or empty."""
    small_lake.fill(lake, table, rows.itertuples(index=False, name=None), tuple(rows.columns))


def run(lake: Lake, run_id: str, *overrides: str, day: date = SECOND) -> dict:
    settings = load_settings((), [f"lake.root={lake.root}", *SMALL, *overrides])
    outcome = execute("wmf", wmf.run, lake.spark, Arguments(settings, day, run_id), job_logger())
    return {"exit_code": outcome.exit_code, **json.loads(outcome.line)}


def look(lake: Lake, table: str, **equals) -> pd.DataFrame:
    """Rows of a table, without Spark."""
    return pd.DataFrame(lake.look(table, **equals), columns=list(TABLES[table].column_names))


def rows_of(lake: Lake, table: str, run_id: str) -> pd.DataFrame:
    index = "user_idx" if table == "user_factors" else "track_idx"
    rows = look(lake, table, run_id=run_id).sort_values(index).reset_index(drop=True)
    return rows.assign(factors=[np.array(row, "f4") for row in rows.factors]) if "factors" in rows else rows


def values(rows: pd.DataFrame) -> np.ndarray:
    return np.stack(rows.factors.to_numpy())


def losses(lake: Lake, run_id: str) -> dict[int, float]:
    found = look(lake, "metrics", run_id=run_id, job="wmf", metric="loss", slice="train")
    assert set(found.model) == {"barrier"}
    return dict(zip(found.step, found.value, strict=True))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    fill(lake, plays_of(SECOND, range(USERS), range(TRACKS), seed=1))
    return lake


def test_every_play_is_used(filled):
    line = run(filled, "night")
    assert line["exit_code"] == 0
    assert line["engine"] == "barrier"
    counts = line["rows"]
    n = len(look(filled, "interactions"))
    assert counts["interactions"] == counts["training_interactions"] == n
    assert (counts["user_factors"], counts["track_factors"], counts["splits"]) == (USERS, TRACKS, TRACKS)
    users, tracks, splits = (rows_of(filled, t, "night") for t in ("user_factors", "track_factors", "splits"))
    assert set(users.origin) | set(tracks.origin) == {"fit"}
    assert set(splits.kind) == {"track"}
    assert set(splits.split) == {"train", "validation"}
    first = losses(filled, "night")
    assert sorted(first) == [1, 2]
    assert first[2] < first[1]


def test_strict_keeps_what_is_held_out_from_the_fit(filled):
    line = run(filled, "eval", "evaluation.protocol=strict")
    assert line["exit_code"] == 0
    played = look(filled, "interactions")
    splits = rows_of(filled, "splits", "eval")
    of_track = splits[splits.kind == "track"].set_index("track_idx").split
    draws = uniforms(1, "split by track", id_keys([f"t{n}" for n in of_track.index]))
    assert list(of_track == "test") == list(draws < 0.2)
    held_out = of_track.index[of_track != "train"]
    of_play = splits[splits.kind == "play"]
    assert set(of_play.split) == {"validation", "test"}
    assert not set(of_play.track_idx) & set(held_out)
    withheld = played.track_idx.isin(held_out)
    assert line["rows"]["training_interactions"] == len(played) - withheld.sum() - len(of_play)

    tracks, users = rows_of(filled, "track_factors", "eval"), rows_of(filled, "user_factors", "eval")
    assert set(tracks[tracks.origin == "held_out"].track_idx) == set(held_out)
    settings = load_settings((), [*SMALL]).wmf
    for track in held_out:
        listened = played[played.track_idx == track]
        at = np.searchsorted(users.user_idx, listened.user_idx)
        expected = fold_in_row(at, listened.play_count.to_numpy(), values(users), settings)
        assert tracks[tracks.track_idx == track].factors.iloc[0] == pytest.approx(expected, rel=1e-4, abs=1e-5)

    # Whatever happens to the held-out tracks' plays, the fit doesn't notice.
    put(filled, "interactions", played.assign(play_count=np.where(withheld, 1000, played.play_count)))
    assert run(filled, "again", "evaluation.protocol=strict")["exit_code"] == 0
    assert (values(rows_of(filled, "user_factors", "again")) == values(users)).all()


def test_paper_lets_wmf_see_the_test_tracks(filled):
    line = run(filled, "paper", "evaluation.protocol=paper")
    assert line["rows"]["training_interactions"] == line["rows"]["interactions"]
    assert set(rows_of(filled, "track_factors", "paper").origin) == {"fit"}
    splits = rows_of(filled, "splits", "paper")
    assert set(splits.kind) == {"track"}
    assert set(splits.split) == {"train", "validation", "test"}


def test_nothing_to_fit_exits_3_and_says_why(lake, filled):
    put(filled, "interactions", look(filled, "interactions").head(0))
    line = run(filled, "none")
    assert line["exit_code"] == 3
    assert "no interactions" in line["error"]
    assert "jobs/ingest.py" in line["error"]
    fill(filled, [("u1", "t1", datetime(2026, 1, 31), 1, SECOND)])  # the one track is held out
    shares = ("evaluation.test_tracks=0.49", "evaluation.validation_tracks=0.49")
    line = run(filled, "eval", "evaluation.protocol=strict", *shares)
    assert line["exit_code"] == 3
    assert "leaves no interaction" in line["error"]


def test_an_evaluation_without_held_out_tracks_goes_on(filled):
    shares = ("evaluation.test_tracks=0", "evaluation.validation_tracks=0")
    line = run(filled, "eval", "evaluation.protocol=strict", *shares)
    assert (line["exit_code"], line["rows"]["held_out_tracks"]) == (0, 0)
    assert set(rows_of(filled, "track_factors", "eval").origin) == {"fit"}


def test_an_earlier_batch_uses_its_own_plays_and_a_window_only_the_last(lake):
    early = plays_of(FIRST, range(USERS), range(20), seed=1)
    late = plays_of(SECOND, range(5, USERS), range(10, TRACKS), seed=2)
    fill(lake, early + late)
    only_early = run(lake, "early", day=FIRST)
    assert only_early["rows"]["interactions"] == len(early)
    assert only_early["rows"]["track_factors"] == 20
    window = run(lake, "window", "wmf.window_days=1")
    assert window["rows"]["interactions"] == len(late)
    cored = run(lake, "cored", "wmf.window_days=2", "listening.min_plays_per_user=12")
    of_user = look(lake, "interactions").groupby("user_idx").play_count.agg(["size", "sum"])
    assert cored["rows"]["user_factors"] == (of_user["size"] >= 12).sum() < USERS
    assert cored["rows"]["interactions"] == of_user["size"][of_user["size"] >= 12].sum()


def test_folding_in_adds_new_users_and_tracks_and_leaves_the_others(lake):
    fill(lake, plays_of(FIRST, range(USERS), range(TRACKS), seed=1))
    assert run(lake, "fit", day=FIRST)["exit_code"] == 0
    new = [
        *plays_of(SECOND, range(40, 45), range(TRACKS), seed=2),  # new users of old tracks
        *plays_of(SECOND, range(40, 45), range(30, 32), seed=3),  # new tracks, heard by new users only
        ("u3", "t5", datetime(2026, 1, 31, 5), 9, SECOND),  # an old user plays on
        ("u50", "t50", datetime(2026, 1, 31, 6), 1, SECOND),  # a new user of a track that nobody else knows
    ]
    fill(lake, plays_of(FIRST, range(USERS), range(TRACKS), seed=1) + new)
    line = run(lake, "update", "wmf.mode=fold_in", "inputs.wmf_run_id=fit", "wmf.alpha=9")
    assert line["exit_code"] == 0
    assert line["upstream"] == {"wmf": ["fit"]}
    before, after = (rows_of(lake, "user_factors", run_id).set_index("user_idx") for run_id in ("fit", "update"))
    folded = after[after.origin == "fold_in"]
    assert list(folded.index) == [3, 40, 41, 42, 43, 44]
    others = after[after.origin == "fit"]
    assert list(others.index) == [n for n in range(USERS) if n != 3]
    assert (values(others) == values(before.loc[others.index])).all()

    tracks = rows_of(lake, "track_factors", "fit")
    listened = look(lake, "interactions", user_idx=41)
    listened = listened[listened.track_idx < TRACKS]
    settings = load_settings((), [*SMALL]).wmf  # the objective of the fit, not the alpha given now
    at = np.searchsorted(tracks.track_idx, listened.track_idx)
    expected = fold_in_row(at, listened.play_count.to_numpy(), values(tracks), settings)
    assert after.loc[41].factors == pytest.approx(expected, rel=1e-4, abs=1e-5)
    new_tracks = rows_of(lake, "track_factors", "update").set_index("track_idx").origin
    assert set(new_tracks.loc[[30, 31]]) == {"fold_in"}
    assert 50 not in new_tracks.index

    # The same day once more, and a batch of the day before: found by their sums, weighed as the fit did.
    fill(
        lake,
        [
            *plays_of(FIRST, range(USERS), range(TRACKS), seed=1),
            *new,
            ("u4", "t5", datetime(2026, 1, 31, 7), 2, SECOND),
            ("u6", "t9", datetime(2026, 1, 30, 7), 2, FIRST),
        ],
    )
    assert run(lake, "again", "wmf.mode=fold_in")["upstream"] == {"wmf": ["update"]}
    again = rows_of(lake, "user_factors", "again").set_index("user_idx")
    moved = [user for user in after.index if (again.loc[user].factors != after.loc[user].factors).any()]
    assert moved == [4, 6]
    tracks = rows_of(lake, "track_factors", "update")
    listened = look(lake, "interactions", user_idx=6)
    at = np.searchsorted(tracks.track_idx, listened.track_idx)
    expected = fold_in_row(at, listened.play_count.to_numpy(), values(tracks), settings)
    assert again.loc[6].factors == pytest.approx(expected, rel=1e-4, abs=1e-5)

    # A rerun extends what it extended before, never itself.
    assert run(lake, "again", "wmf.mode=fold_in")["upstream"] == {"wmf": ["update"]}
    assert (values(rows_of(lake, "user_factors", "again")) == values(again)).all()

    # What is folded in after a refit is weighed as the refit did.
    assert run(lake, "anew", "wmf.mode=refit", "inputs.wmf_run_id=again", "wmf.alpha=2")["exit_code"] == 0
    fill(lake, [*plays_of(FIRST, range(USERS), range(TRACKS), seed=1), ("u6", "t9", datetime(2026, 1, 30), 5, FIRST)])
    assert run(lake, "last", "wmf.mode=fold_in", "inputs.wmf_run_id=anew")["basis"] == "fit"
    tracks = rows_of(lake, "track_factors", "anew")
    listened = look(lake, "interactions", user_idx=6)
    at = np.searchsorted(tracks.track_idx, listened.track_idx)
    expected = fold_in_row(
        at, listened.play_count.to_numpy(), values(tracks), settings.model_copy(update={"alpha": 2.0})
    )
    mine = rows_of(lake, "user_factors", "last").set_index("user_idx").loc[6].factors
    assert mine == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # Whose plays are all gone has no factors any more, as after a fit.
    for side in ("user", "track"):
        before, after = (set(rows_of(lake, f"{side}_factors", run_id)[f"{side}_idx"]) for run_id in ("anew", "last"))
        assert after == set(look(lake, "interactions")[f"{side}_idx"]) < before

    refused = run(lake, "bad", "wmf.mode=fold_in", "inputs.wmf_run_id=fit", "evaluation.protocol=strict")
    assert refused["exit_code"] == 2

    # The log still has the version that the fit read; its files are gone.
    table = DeltaTable(lake.uri("interactions"))
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert run(lake, "whole", "wmf.mode=fold_in", "inputs.wmf_run_id=fit")["exit_code"] == 0
    whole = rows_of(lake, "user_factors", "whole")
    assert set(whole.origin) == {"fold_in"} and set(whole.user_idx) == set(look(lake, "interactions").user_idx)


def best_turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation of a that comes closest to b."""
    u, _, v = np.linalg.svd(a.astype("f8").T @ b)
    return u @ v


def test_a_refit_stays_in_the_basis_of_the_run_before(lake):
    old = plays_of(FIRST, range(USERS), range(TRACKS), seed=1)
    fill(lake, old)
    # A small lambda, so that all four directions carry something.
    light, long = "wmf.regularization=0.5", "wmf.iterations=40"
    assert run(lake, "fit", light, long, day=FIRST)["exit_code"] == 0
    new = [
        *plays_of(SECOND, range(40, 45), range(TRACKS + 2), seed=2),
        ("u3", "t5", datetime(2026, 1, 31, 5), 9, SECOND),
    ]
    fill(lake, old + new)
    line = run(lake, "night", light, "wmf.mode=refit", "inputs.wmf_run_id=fit")
    assert line["exit_code"] == 0
    assert (line["upstream"], line["basis"], line["rows"]["common_tracks"]) == ({"wmf": ["fit"]}, "fit", TRACKS)
    anew = run(lake, "anew", light, long, "wmf.seed=7")
    assert anew["basis"] == "anew"
    before, night, other = (rows_of(lake, "track_factors", run_id) for run_id in ("fit", "night", "anew"))
    assert set(night.origin) == {"fit"}
    assert list(night.track_idx) == list(other.track_idx) == [*before.track_idx, 30, 31]
    # Two iterations from yesterday's factors reach what forty from random ones reach, and in yesterday's basis.
    assert losses(lake, "night")[2] == pytest.approx(losses(lake, "anew")[40], rel=0.02)
    turns = [best_turn(values(rows)[:TRACKS], values(before)) for rows in (night, other)]
    assert turns[0] == pytest.approx(np.eye(4), abs=1e-4)
    assert np.abs(turns[1] - np.eye(4)).max() > 0.1
    scores = [
        values(rows_of(lake, "user_factors", name)) @ values(rows_of(lake, "track_factors", name)).T
        for name in ("night", "anew")
    ]
    assert np.linalg.norm(scores[0] - scores[1]) < 0.2 * np.linalg.norm(scores[1])
    found = look(lake, "metrics", run_id="night", job="wmf").set_index("metric").value
    assert 0 < found["basis_residual"] <= found["basis_drift"] < 0.2
    moved = np.linalg.norm(values(night)[:TRACKS] - values(before)) / np.linalg.norm(values(before))
    assert found["basis_residual"] == pytest.approx(moved, rel=1e-3)

    third = run(lake, "third", "wmf.mode=refit", "inputs.wmf_run_id=night")
    assert third["basis"] == "fit"
    refused = run(lake, "wider", "wmf.mode=refit", "inputs.wmf_run_id=fit", "wmf.rank=5")
    assert refused["exit_code"] == 2
    assert "wmf run fit has wmf.rank=4, this run 5" in refused["error"]
    assert run(lake, "strict", "wmf.mode=refit", "evaluation.protocol=strict")["exit_code"] == 2
    assert run(lake, "fit", day=FIRST)["exit_code"] == 0  # in another basis, perhaps
    refused = run(lake, "late", "wmf.mode=refit", "inputs.wmf_run_id=third")
    assert refused["exit_code"] == 4
    assert "builds on a run that has run again since" in refused["error"]
