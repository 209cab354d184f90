"""The search for settings as a whole, on a small log with a planted structure."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from etude.config import load_settings
from etude.job import Arguments, execute
from etude.lake import Lake, ledger
from etude.logs import job_logger
from etude.report.searches import newest_search

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import tune

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(spark, tmp_path_factory):
    """A log of 60 users of three tastes with 20 tracks each; the settings as given are absurd."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(1)
    lines = ["user,track,plays"]
    for user in range(60):
        own = rng.choice(np.arange(user % 3, 60, 3), 10, replace=False)
        lines += [f"u{user},t{track},{rng.integers(1, 5)}" for track in {*own, *rng.choice(60, 3, replace=False)}]
    (folder / "plays.csv").write_text("\n".join(lines))
    asked = [
        *(f"lake.root={folder}/lake", f"listening.path={folder}/plays.csv", f"tune.path={folder}/found.yaml"),
        *("listening.columns.user=user", "listening.columns.track=track", "listening.columns.play_count=plays"),
        *("wmf.iterations=5", "wmf.alpha=0.001", "wmf.regularization=3000", "tune.points=4", "tune.ranks=[2,4]"),
        *("tune.keep=0.3", "tune.k=10", "tune.regularization=[0.5,5]"),
    ]

    def of(day=date(2026, 1, 31), dated=False, *more):
        arguments = Arguments(load_settings((), [*asked, *more]), day, "t", dated=dated)
        outcome = execute("tune", tune.run, spark, arguments, job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    return of, folder


def test_it_finds_better_settings_than_absurd_ones_and_goes_on_where_it_stopped(run):
    of, folder = run
    code, line = of()
    assert code == 0, line
    assert line["rows"]["trials"] == 4 + 3  # the two best of rank 2, and the settings as given
    assert line["best"]["ndcg"] > line["as_given"]["ndcg"] > 0
    assert (line["as_given"]["alpha"], line["as_given"]["rank"]) == (0.001, 4)
    found = load_settings([folder / "found.yaml"]).wmf
    assert {name: getattr(found, name) for name in ("rank", "alpha")} == {
        name: line["best"][name] for name in ("rank", "alpha")
    }
    lake = Lake(str(folder / "lake"))
    runs = lake.look("runs", ["job", "run_id", "attempt", "parent"])
    assert {row["parent"] for row in runs if row["job"] != "tune"} == {"t"}
    assert not lake.exists("releases")
    assert lake.count("metrics", job="topn", metric="ndcg", slice="warm", model="wmf") == 7

    code, again = of(date(2026, 2, 1))
    assert (code, again["best"]) == (0, line["best"])
    after = {(row["job"], row["run_id"]): row["attempt"] for row in lake.look("runs", ["job", "run_id", "attempt"])}
    assert {key for key, attempt in after.items() if attempt > 1} == {("tune", "t")}

    code, refused = of(date(2026, 2, 1), dated=True)
    assert code == 2
    assert "--batch-date 2026-02-01: run t works for 2026-01-31" in refused["error"]
    assert of()[0] == 0

    page = newest_search(lake, ledger.graph(lake))
    assert (page.run_id, page.metric, page.k, len(page.trials)) == ("t", "ndcg", 10, 7)
    assert page.best().value == pytest.approx(line["best"]["ndcg"], abs=1e-5)
    assert (page.given().rank, page.given().alpha) == (4, 0.001)
    assert [trial.as_given for trial in page.trials].count(True) == 2

    # Another search under the same run_id: what it didn't compare isn't shown.
    code, line = of(date(2026, 1, 31), False, "tune.ranks=[2]", "tune.points=3")
    page = newest_search(lake, ledger.graph(lake))
    assert (code, len(page.trials), {trial.rank for trial in page.trials}) == (0, 3, {2})
    assert page.best().value == pytest.approx(line["best"]["ndcg"], abs=1e-5)

    lake.replace("metrics", [], job="topn")
    assert newest_search(lake, ledger.graph(lake)) is None
