"""etude explain: which plays carry a score, and how much of it is content."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from etude.cli.main import main
from etude.config.wmf import WmfSettings
from etude.factors.objective import extra_confidence
from etude.lake import Lake, ledger
from small_lake import TRACKS, USERS, fill

RANK, L = 4, WmfSettings().regularization
CHOICE = {"weight": 2.0, "played_length": 3.0, "unplayed_length": 0.5}


def solved(fixed, extra, prior, weight):
    system = fixed.T @ ((1 + extra)[:, None] * fixed) + (L + weight) * np.eye(RANK)
    return np.linalg.solve(system, fixed.T @ ((1 + extra) * (extra > 0)) + weight * prior)


@pytest.fixture
def lake(small_lake, tmp_path):
    """A lake whose users' and blended factors are exact; the last user has none, tracks 10 and 11 no plays."""
    lake = Lake(shutil.copytree(small_lake, tmp_path / "lake").as_uri())
    random = np.random.default_rng(2)
    counts = np.zeros((len(USERS) - 1, 10))
    for row in lake.look("interactions"):
        if row["user_idx"] < len(counts):
            counts[row["user_idx"], row["track_idx"]] = row["play_count"]
    extra = np.where(counts > 0, extra_confidence(counts, WmfSettings()), 0).astype(float)
    tracks, content = 0.1 * random.standard_normal((2, TRACKS, RANK))
    users = np.array([solved(tracks[:10], row, 0, 0) for row in extra])
    prior, weight = CHOICE["played_length"] * content, CHOICE["weight"] * L
    mixed = [solved(users, extra[:, t], prior[t], weight) for t in range(10)]
    mixed += [CHOICE["unplayed_length"] * content[t] for t in (10, 11)]
    listeners = [*(extra > 0).sum(axis=0).tolist(), 0, 0]
    fill(lake, "track_factors", [("prod", t, tracks[t].tolist(), "fit") for t in range(10)])
    fill(lake, "user_factors", [("prod", u, row.tolist(), "fit") for u, row in enumerate(users)])
    fill(lake, "predicted_factors", [("prod", t, *[content[t].tolist()] * 3, "prod") for t in range(TRACKS)])
    fill(lake, "blended_track_factors", [("prod", t, mixed[t].tolist(), listeners[t]) for t in range(TRACKS)])
    topn = ledger.find(lake, "topn", "prod")
    ledger.write(lake, replace(topn, job="blend", facts={"choice": CHOICE}))
    (release,) = lake.look("releases")
    release["run_ids"] = dict(release["run_ids"]) | {"blended_track_factors": "prod"}
    lake.replace("releases", [release])
    lake.users, lake.mixed, lake.extra, lake.weighted = users, np.array(mixed), extra, (prior, weight)
    return lake


@pytest.fixture
def etude(lake, capsys):
    def run(*arguments):
        code = main(["explain", *arguments, "--lake", lake.root.removeprefix("file://")])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_the_plays_carry_the_whole_score(etude, lake):
    code, out, _ = etude("bob", "T03", "--limit", "99", "--json")
    found = json.loads(out)
    assert (code, found["user_idx"], found["title"], found["release"]) == (0, 1, "Study no. 3", 1)
    assert found["score"] == pytest.approx(lake.users[1] @ lake.mixed[3], rel=1e-4)
    assert found["rest"] == pytest.approx(0, abs=1e-4)
    parts = [row["part"] for row in found["plays"]]
    assert parts == sorted(parts, reverse=True)
    assert sum(parts) == pytest.approx(found["score"], abs=1e-4)
    played = {f"T{t:02d}" for t in np.flatnonzero(lake.extra[1])}
    assert {row["track_id"] for row in found["plays"]} == played


def test_content_is_what_the_prior_gives(etude, lake):
    found = json.loads(etude("bob", "T03", "--json")[1])
    prior, weight = lake.weighted
    without = solved(lake.users, lake.extra[:, 3], 0 * prior[3], weight)
    assert found["content"] == pytest.approx(lake.users[1] @ (lake.mixed[3] - without), rel=1e-3)
    assert found["listeners"] == (lake.extra[:, 3] > 0).sum()
    cold = json.loads(etude("bob", "T11", "--json")[1])
    assert (cold["listeners"], cold["content"]) == (0, cold["score"])


def test_without_blended_factors_content_is_all_or_nothing(etude, lake):
    (release,) = lake.look("releases")
    release["run_ids"] = {k: v for k, v in dict(release["run_ids"]).items() if k != "blended_track_factors"}
    lake.replace("releases", [release])
    warm, cold = (json.loads(etude("bob", track, "--json")[1]) for track in ("T03", "T11"))
    assert (warm["content"], cold["content"]) == (0, cold["score"])


def test_a_terminal_shows_the_largest_parts(etude):
    code, out, _ = etude("bob", "T03", "--limit", "2")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[:5]] == ["track", "score", "content", "listeners", "rest"]
    assert len(lines) == 6 + 2 + 2


def test_plays_since_the_fit_are_the_rest(etude, lake):
    rows = lake.look("interactions")
    (first,) = [row for row in rows if row["user_idx"] == 1][:1]
    first["play_count"] += 50
    lake.replace("interactions", rows)
    assert abs(json.loads(etude("bob", "T03", "--json")[1])["rest"]) > 1e-3


@pytest.mark.parametrize(
    ("user", "track", "said"),
    [
        ("nobody", "T03", "no such user"),
        ("bob", "nothing", "no track 'nothing'"),
        ("fay", "T03", "the user has no factors in release 1"),
    ],
)
def test_what_is_not_known_is_a_missing_input(etude, user, track, said):
    code, _, error = etude(user, track)
    assert code == 3
    assert said in error
    assert "nobody" not in error and "fay" not in error
