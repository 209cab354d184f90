"""The topn job on tables made by hand."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from etude.config import load_settings, redacted
from etude.errors import DataCheckError
from etude.job import Arguments, execute
from etude.lake import Lake
from etude.lake.releases import releases
from etude.lake.runs import Run
from etude.lake.tables import RUNS
from etude.logs import job_logger
from etude.ranking.metrics import LIST_METRICS
from etude.ranking.task import Checks
from small_lake import fill

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import topn

DAY = date(2026, 1, 31)
USERS, TRACKS, RANK = 12, 30, 3
TRAIN, VALIDATION, TEST = range(20), range(20, 23), range(23, 29)  # 29 was never played


pytestmark = pytest.mark.slow


def succeeded(job, run_id, protocol, *settings, hour=12, **facts):
    """A row of `runs`."""
    given = redacted(load_settings((), settings))
    upstream = {job: [run_id] for job, run_id in facts.pop("upstream", {}).items()}
    now = datetime(2026, 1, 31, hour, tzinfo=timezone.utc)
    record = Run(
        run_id, job, DAY, protocol, now, settings=given, upstream=upstream, ended_at=now, status="succeeded", **facts
    )
    return tuple(record.as_row()[name] for name in RUNS.column_names)


def factor_rows(rng, indices, scale=1.0):
    return {int(i): (rng.normal(size=RANK) * scale).tolist() for i in indices}


COLUMNS = {
    "tracks": ("track_id", "track_idx", "artist_id"),
    "interactions": ("user_idx", "track_idx", "play_count"),
    "plays": ("user_id", "track_id", "event_id", "play_count", "source", "batch_date", "counted_on", "file", "record"),
}


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory):
    """A lake with a strict and a none run of wmf and train; user 11 has no factors, user 0 no test plays.

    The first version of interactions is what wmf split; the second, newer one must not change an evaluation. `plays`
    has pairs that interactions lack, as a k-core leaves them.
    """
    lake = Lake(str(tmp_path_factory.mktemp("topn") / "lake"), spark)
    rng = np.random.default_rng(5)
    plays = {(u, t): 1 + (u * t) % 4 for u in range(1, USERS - 1) for t in range(TRACKS - 1) if (u * 7 + t * 3) % 4 < 2}
    plays |= {(0, t): 2 for t in (1, 2, 3)} | {(11, 25): 1}
    newer = plays | {(0, t): 9 for t in range(TRACKS - 1)}
    outside = {(1, 29), (11, 4), (11, 5)}
    held = [(u, t) for u, t in plays if u and t in TRAIN and (u + t) % 5 == 0]
    rows = {
        "users": [(f"user {u}", u) for u in range(USERS)],
        "tracks": [(f"T{t}", t, f"Artist {t % 5}") for t in range(TRACKS)],
        **{name: [] for name in ("track_factors", "user_factors", "predicted_factors", "splits", "runs")},
    }
    rows["plays"] = [
        (f"user {u}", f"T{t}", f"{u} {t}", 1, "log", DAY, DAY, "log.csv", 1) for u, t in {*newer, *outside}
    ]
    fill(lake, "interactions", [(*pair, count) for pair, count in plays.items()], COLUMNS["interactions"])
    split = lake.version("interactions")
    read = {"interactions": split}
    for run, protocol in (("strict", "strict"), ("night", "none")):
        x, y, guess = (factor_rows(rng, r) for r in (range(USERS - 1), range(TRACKS), range(TRACKS)))
        known = range(20) if protocol == "strict" else range(29)
        rows["track_factors"] += [(run, t, y[t], "fit" if t in known else "held_out") for t in range(29)]
        rows["user_factors"] += [(run, u, x[u], "fit") for u in x]
        rows["predicted_factors"] += [
            (run, t, guess[t], guess[t][::-1], [-g for g in guess[t]], run) for t in range(TRACKS)
        ]
        names = {**dict.fromkeys(TRAIN, "train"), **dict.fromkeys(VALIDATION, "validation")}
        names |= dict.fromkeys(TEST, "test" if protocol == "strict" else "train")
        rows["splits"] += [(run, "track", t, -1, name) for t, name in names.items()]
        rows["splits"] += [(run, "play", t, u, "test") for u, t in held] if protocol == "strict" else []
        network = ("train.model=cnn_lstm", "train.seed=3")
        rows["runs"] += [succeeded("wmf", run, protocol, inputs=read), succeeded("train", run, protocol, *network)]
    for copy, run in (("alone", "strict"), ("update", "night")):
        for table in ("track_factors", "user_factors", "splits"):
            rows[table] += [(copy, *row[1:]) for row in rows[table] if row[0] == run]
    rows["runs"] += [
        succeeded("wmf", "alone", "strict", inputs=read),
        succeeded("wmf", "alone-paper", "paper", inputs=read),
        succeeded("wmf", "window", "strict", "wmf.window_days=7"),
        succeeded("wmf", "update", "none", "wmf.mode=fold_in", hour=13, inputs=read, upstream={"wmf": "night"}),
        succeeded("train", "old", "none", hour=11, upstream={"wmf": "night"}),
    ]
    rows["interactions"] = [(*pair, count) for pair, count in newer.items()]
    for table, values in rows.items():
        fill(lake, table, values, COLUMNS.get(table))
    lake.plays, lake.held, lake.heard, lake.split = plays, set(held), {*newer, *outside}, split
    return lake


@pytest.fixture(scope="module")
def start(made):
    def run(run_id="strict", protocol="strict", *overrides, day=DAY):
        settings = load_settings(
            (),
            [f"lake.root={made.root}", f"evaluation.protocol={protocol}", "evaluation.k=[3,6]", "topn.n=6", *overrides],
        )
        outcome = execute("topn", topn.run, made.spark, Arguments(settings, day, run_id), job_logger())
        return outcome.exit_code, json.loads(outcome.line)

    return run


@pytest.fixture(scope="module")
def evaluated(start):
    """How the strict run ended."""
    return start()


def recommendations(lake, run_id):
    rows = lake.look("recommendations", run_id=run_id)
    return sorted(rows, key=lambda row: (row["user_idx"], row["position"]))


def lists_of(lake, run_id):
    lists = {}
    for row in recommendations(lake, run_id):
        lists.setdefault(row["user_idx"], []).append(row)
    for listed in lists.values():
        assert [row["position"] for row in listed] == list(range(1, len(listed) + 1))
    return lists


def figures_of(lake, run_id):
    rows = lake.look("metrics", run_id=run_id, job="topn")
    return {(r["model"], r["slice"], r["metric"], r["k"]): r["value"] for r in rows}


def source_of(made, track):
    """The source of a track in a list of a strict run, by its training plays."""
    listeners = sum(t == track and (u, t) not in made.held for u, t in made.plays)
    return "cold" if track in TEST else "light" if listeners <= 3 else "warm"


def test_a_strict_run_lists_warm_and_test_tracks_and_measures_them(made, evaluated):
    code, line = evaluated
    assert (code, line["error"] if code else None) == (0, None)
    lists = lists_of(made, "strict")
    assert {user: len(listed) for user, listed in lists.items()} == dict.fromkeys(range(USERS), 6)
    for user, listed in lists.items():
        tracks = {int(row["track_id"][1:]) for row in listed}
        heard = {t for u, t in made.plays if u == user and t in TRAIN and (u, t) not in made.held}
        assert not tracks & heard
        assert tracks <= {*TRAIN, *TEST}
        expected = {t: "popularity" if user == 11 else source_of(made, t) for t in tracks}
        assert {int(row["track_id"][1:]): row["source"] for row in listed} == expected
    found = figures_of(made, "strict")
    assert found["cnn_lstm", "cold", "users", 0] == USERS - 1
    assert found["cnn_lstm", "cold", "users_without_factors", 0] == 1
    assert found["cnn_lstm", "all", "users_left_out", 0] == 1
    assert line["inputs"]["interactions"] == made.split
    assert found["popularity", "cold", "auc", 0] == 0.5
    assert 0 < found["cnn_lstm", "warm", "recall", 6] <= 1
    assert found["cnn_lstm", "all", "cold_share", 6] > 0
    assert {model for model, *_ in found} == {
        *("cnn_lstm", "random", "popularity", "artist_popularity", "item_knn", "ease", "same_artist"),
        *("network", "ridge", "true_factors"),
    }
    # Planted: the regression says the opposite of what the lists rest on.
    assert found["ridge", "cold", "auc", 0] == pytest.approx(1 - found["cnn_lstm", "cold", "auc", 0])
    assert found["network", "cold", "auc", 0] != found["cnn_lstm", "cold", "auc", 0]
    seeds = {(r["model"], r["seed"]) for r in made.look("metrics", job="topn")}
    assert ("cnn_lstm", 3) in seeds
    assert "published" not in line
    assert line["rows"]["recommendations"] == USERS * 6
    assert (line["rows"]["candidates"], line["rows"]["candidates_cold"]) == (26, 6)
    assert line["upstream"] == {"wmf": ["strict"], "train": ["strict"]}


def test_lists_can_be_measured_by_validation_plays(made, start):
    code, line = start("tuning", "strict", "evaluation.measured_split=validation")
    assert code == 0, line
    assert line["rows"]["candidates_cold"] == len(VALIDATION)
    listed = {int(row["track_id"][1:]) for row in recommendations(made, "tuning")}
    assert not listed & {*TEST} and listed & {*VALIDATION}
    found = figures_of(made, "tuning")
    assert found["ridge", "cold", "auc", 0] == pytest.approx(1 - found["cnn_lstm", "cold", "auc", 0])
    assert found["cnn_lstm", "warm", "users", 0] == 0  # all single plays that were held out are test plays


def test_a_rerun_leaves_the_same(made, evaluated, start):
    assert evaluated[0] == 0
    before = recommendations(made, "strict"), figures_of(made, "strict")
    start()
    assert recommendations(made, "strict") == before[0]
    assert figures_of(made, "strict") == before[1]


def test_values_of_users_are_written_if_asked_for_and_leave_with_the_option(made, evaluated, start):
    """The run without the option wrote none; a rerun without it removes those of the attempt before."""
    assert evaluated[0] == 0
    assert not made.exists("user_metrics")
    assert start("strict", "strict", "evaluation.per_user=true")[0] == 0
    by_figure = {}
    for row in made.look("user_metrics", run_id="strict"):
        by_figure.setdefault((row["model"], row["slice"], row["metric"], row["k"]), []).append(row["value"])
    figures = figures_of(made, "strict")
    assert {metric for *_, metric, _ in by_figure} == {*LIST_METRICS, "auc"}
    assert {key: np.mean(values) for key, values in by_figure.items()} == pytest.approx(
        {key: figures[key] for key in by_figure}
    )
    assert len(by_figure["cnn_lstm", "warm", "recall", 6]) == figures["cnn_lstm", "warm", "users", 0]
    start("strict", "strict")
    assert made.count("user_metrics") == 0


def test_a_none_run_is_published_with_what_it_came_from(made, start):
    """By a train run on the fit that the wmf run was folded into; all lists are whole, but for what users played."""
    code, line = start("lists", "none", "inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30")
    assert (code, line["error"]) == (0, None)
    (release,) = releases(made)
    assert (release.release, release.previous, release.published_by) == (1, None, "topn lists")
    assert release.runs() == {"topn": "lists", "wmf": "update", "train": "night"}
    for user, listed in lists_of(made, "lists").items():
        everything = range(TRACKS - 1 if user == 11 else TRACKS)
        assert {int(row["track_id"][1:]) for row in listed} == {t for t in everything if (user, t) not in made.heard}
        assert {row["track_id"] for row in listed if row["source"] == "cold"} <= {"T29"}
    rows = recommendations(made, "lists")
    cold = sum(row["source"] == "cold" for row in rows) / len(rows)
    shares = figures_of(made, "lists")
    assert shares.keys() == {("cnn_lstm", "all", f"{name}_share", 30) for name in ("cold", "light")}
    assert shares["cnn_lstm", "all", "cold_share", 30] == pytest.approx(cold)


def test_lists_keep_to_what_is_asked_of_them(made, start):
    """Two tracks an artist, no track of artist 4, and tracks played more than a day ago again."""
    asked = ("topn.max_per_artist=2", "topn.candidates=artist_id <> 'Artist 4'", "topn.exclude_heard_days=1")
    code, line = start("asked", "none", "inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=8", *asked)
    assert (code, line["error"]) == (0, None)
    assert line["rows"]["candidates"] == TRACKS - TRACKS // 5
    for listed in lists_of(made, "asked").values():
        artists = [int(row["track_id"][1:]) % 5 for row in listed]
        assert 4 not in artists
        assert max(map(artists.count, artists)) <= 2
        assert len(listed) == 8
    by_day = start("late", "none", "inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30", asked[2])
    assert by_day[0] == 0
    heard = {(user, int(row["track_id"][1:])) for user, listed in lists_of(made, "late").items() for row in listed}
    assert not heard & made.heard  # all plays are of the batch date
    code, line = start("wrong", "none", "topn.candidates=year > 2000")
    assert code == 2
    assert "topn.candidates='year > 2000'" in line["error"]


def test_repeats_are_of_what_a_user_has_heard(made, start, tmp_path):
    """Listed beside the others, published with them, without what is never to be listed; gone without the setting."""
    (tmp_path / "never.csv").write_text("track_id,user_id\nT7,user 3\n")
    night = ("inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30", f"topn.never={tmp_path}/never.csv")
    code, line = start("again", "none", *night, "topn.repeats=40", "topn.exclude_heard=false")
    assert (code, line["error"]) == (0, None)
    rows = made.look("repeats", run_id="again")
    assert {(row["user_idx"], int(row["track_id"][1:])) for row in rows} == made.heard - {(3, 7), (11, 29)}
    assert line["rows"]["repeats"] == len(rows)
    factors = {row["user_idx"]: np.array(row["factors"]) for row in made.look("user_factors", run_id="update")}
    of_tracks = {row["track_idx"]: np.array(row["factors"]) for row in made.look("track_factors", run_id="update")}
    mine = sorted((row for row in rows if row["user_idx"] == 4), key=lambda row: row["position"])
    expected = [float(of_tracks[int(row["track_id"][1:])] @ factors[4]) for row in mine]
    assert [row["score"] for row in mine] == pytest.approx(expected, rel=1e-5)
    assert expected == sorted(expected, reverse=True)
    assert max(releases(made), key=lambda each: each.release).run_ids["repeats"] == "again"
    assert start("again", "none", *night)[0] == 0
    assert made.count("repeats") == 0


def test_what_is_never_to_be_listed_is_not(made, start, tmp_path):
    file = tmp_path / "never.csv"
    file.write_text("track_id,user_id\nT7,\nT29,user 3\n")
    night = ("inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30")
    assert start("never", "none", *night, f"topn.never={file}")[0] == 0
    listed = {user: {row["track_id"] for row in rows} for user, rows in lists_of(made, "never").items()}
    assert not any("T7" in tracks for tracks in listed.values())
    assert {user for user in range(USERS - 1) if "T29" not in listed[user]} == {1, 3}  # user 1 has heard it
    assert start("never", "none", *night, "topn.never=/nowhere.csv")[0] == 3


def test_heard_tracks_are_read_from_interactions_if_they_hold_all_plays(made, start):
    """Here they lack three pairs, which are listed then; with filters in the last ingest the plays are read."""
    night = ("inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30")
    written = {table: made.version(table) for table in ("plays", "interactions")}

    def listed(run_id, *settings, outputs):
        run = succeeded("ingest", "last", "none", *settings, hour=23, outputs=outputs)
        row = dict(zip(RUNS.column_names, run, strict=True))
        made.replace("runs", [row], job="ingest", run_id="last")
        code, line = start(run_id, "none", *night)
        assert code == 0
        found = {(user, int(row["track_id"][1:])) for user, rows in lists_of(made, run_id).items() for row in rows}
        return "plays" in line["inputs"], found

    reads_plays, found = listed("by pairs", outputs=written)
    assert (reads_plays, made.heard & found) == (False, {(1, 29), (11, 4), (11, 5)})
    assert listed("by plays", "listening.max_tracks=9", outputs=written)[0]
    reads_plays, found = listed("newer", outputs=written | {"plays": written["plays"] - 1})
    assert (reads_plays, made.heard & found) == (True, set())
    made.replace("runs", [], job="ingest", run_id="last")


def test_plays_before_the_last_days_exclude_nothing(made, start):
    settings = ("inputs.wmf_run_id=update", "inputs.train_run_id=night", "topn.n=30", "topn.exclude_heard_days=3")
    code, _ = start("next week", "none", *settings, day=DAY + timedelta(days=7))
    assert code == 0
    lists = lists_of(made, "next week")
    assert {len(lists[user]) for user in range(USERS - 1)} == {TRACKS}


def test_factors_of_two_fits_are_not_mixed(made, start):
    before = made.version("recommendations")
    code, line = start("mixed", "strict", "inputs.wmf_run_id=alone", "inputs.train_run_id=strict")
    assert code == 4
    assert "in the space of wmf run strict, not of alone" in line["error"]
    assert "no common basis" in line["error"]
    assert made.version("recommendations") == before


def test_predictions_that_do_not_fit_leave_warm_lists_unless_they_were_asked_for(made, start):
    """The newest train run of the day is found, of another fit; paper has nothing else to list."""
    code, line = start("alone", "strict")
    assert (code, line["upstream"]) == (0, {"wmf": ["alone"]})
    sources = {row["source"] for rows in lists_of(made, "alone").values() for row in rows}
    assert sources == {"light", "warm", "popularity"}
    assert ("same_artist", "cold", "auc", 0) in figures_of(made, "alone")
    assert start("alone-paper", "paper")[0] == 3


def test_a_train_run_whose_fit_has_run_again_is_refused(start):
    code, line = start("late", "none", "inputs.wmf_run_id=night", "inputs.train_run_id=old")
    assert code == 4
    assert "train run old was built on a run that has run again" in line["error"]


def test_a_run_that_summed_plays_itself_is_not_evaluated(start):
    code, line = start("window", "strict")
    assert code == 4
    assert "summed plays itself" in line["error"]


def checking(protocol):
    """A job as `topn.check` sees it."""
    warned, counted = [], {}
    return SimpleNamespace(
        settings=load_settings((), (f"evaluation.protocol={protocol}",)),
        log=SimpleNamespace(warning=lambda text, *values: warned.append(text % values)),
        count=counted.__setitem__,
        warned=warned,
        counted=counted,
    )


@pytest.mark.parametrize("found", [Checks(users=9, short=1), Checks(users=9, bad_scores=1), Checks(bad_factors=1)])
def test_lists_that_can_t_be_right_are_not_written(found):
    with pytest.raises(DataCheckError):
        topn.check(checking("none"), found)
    topn.check(checking("none"), Checks(users=9, fallback=1, rows=90, out_of_reach=3))


@pytest.mark.parametrize(("protocol", "cold", "warnings"), [("none", 45, 0), ("none", 46, 1), ("strict", 90, 0)])
def test_too_many_cold_tracks_in_lists_to_publish_are_warned_of(protocol, cold, warnings):
    job = checking(protocol)
    topn.check(job, Checks(users=9, rows=90, cold=cold))
    assert len(job.warned) == warnings
    assert job.counted["recommendations_cold"] == cold


def test_without_a_wmf_run_the_input_is_missing(start):
    code, line = start("early", "strict", "inputs.wmf_run_id=none-such")
    assert code == 3
    assert "none-such" in line["error"]
