"""The pipeline as a whole, on a tiny conservatoire: its first run, and what its second one finds to do."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from etude import job
from etude.config.demo import DemoSettings
from etude.demo.corpus import build
from etude.lake import Lake

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import pipeline

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
CORPUS = DemoSettings(
    users=30, tracks=40, events=1500, bad_audio=0.1, mislabelled_audio=0, without_audio=0, bad_rows=0.02, processes=1
)
FITTED = ("wmf", "train", "blend", "topn")
STEPS = ["ingest r", "mel r", *(f"{job} {run}" for run in ("r-eval", "r") for job in FITTED), "report r"]
SMALL = [
    *("wmf.rank=4", "wmf.iterations=2"),
    *("train.epochs=1", "train.distribution=single", "train.reader=arrow", "train.channels=[4,4,4]"),
    *("train.lstm_units=4", "train.audio_size=4", "train.artist_size=4", "train.tag_size=4", "train.mlp=[8,4]"),
    *("topn.n=10", "evaluation.k=[5]", "report.k=5", "report.mel_pictures=1", "pipeline.samples=2"),
]


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    """The corpus, and the pipeline as a program in the session that is there."""
    folder = tmp_path_factory.mktemp("pipeline")
    assert build(folder / "landing", CORPUS)
    layer = OmegaConf.to_yaml(OmegaConf.load(ROOT / "conf" / "demo.yaml"))
    (folder / "demo.yaml").write_text(layer.replace("build/demo", str(folder)))

    @contextmanager
    def session(*_):
        yield spark

    class World:
        def __init__(self):
            self.folder, self.lake, self.landing = folder, folder / "lake", folder / "landing"
            self.expected = json.loads((self.landing / "expected.json").read_text())

        def run(self, *arguments, capsys):
            argv = ["pipeline", "--config", str(folder / "demo.yaml"), "--run-id", "r", *SMALL, *arguments]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", argv)
                patch.setattr(job, "spark_session", session)
                with pytest.raises(SystemExit) as left:
                    job.main("pipeline", pipeline.run, "doc", pipeline.add_arguments)
            printed = capsys.readouterr().out.strip().splitlines()
            return left.value.code, printed[:-1], json.loads(printed[-1])

        def summary(self, stage):
            return json.loads((self.lake / "_status" / "r" / f"{stage}.json").read_text())

        def rows(self, table, *columns, **equals):
            return Lake(str(self.lake)).look(table, columns, **equals)

    return World()


def check_what_was_planted(world):
    """Each bad row is refused for its reason, the rest is kept, and what the catalogues lack is unknown."""
    rejects = world.rows("rejects", "source", "reason", job="ingest")
    assert {row["source"] for row in rejects} == {"conservatoire"}  # nothing is wrong with the catalogues' rows
    assert Counter(row["reason"] for row in rejects) == world.expected["plays"]["refused"]
    assert len(world.rows("plays", "event_id")) == world.expected["plays"]["kept"]
    known = [row for row in world.rows("tracks") if row["track_id"].startswith("t")]
    assert len(known) == CORPUS.tracks
    for lacking, column in (("without_release", "release_year"), ("without_artist", "artist_id")):
        assert sum(row[column] is None for row in known) == world.expected["catalogue"][lacking]


def test_the_whole_way_and_the_way_again(world, capsys):
    status, printed, line = world.run(capsys=capsys)
    assert (status, line["job"], line["status"]) == (0, "pipeline", "succeeded")
    assert line["stages"] == dict.fromkeys(STEPS, "done")
    assert [words.split()[0] for words in printed][:4] == ["user_idx", "1.", "2.", "3."]
    assert [words.split()[0] for words in printed].count("user_idx") == 2
    refused = world.expected["plays"]["refused"]
    assert world.summary("ingest")["rejected"] == refused
    check_what_was_planted(world)
    assert world.summary("mel")["rejected"] == world.expected["audio"]["refused"]
    page = (world.folder / "report.html").read_text(encoding="utf-8")
    assert all(reason in page for reason in (*refused, "undecodable"))
    (release,) = world.rows("releases")
    assert set(release["run_ids"].values()) == {"r"}

    status, printed, line = world.run(capsys=capsys)
    left = dict.fromkeys(STEPS, "up to date") | {"mel r": "done", "report r": "done"}
    assert (status, line["stages"], printed) == (0, left, []), "mel looks at the files, so the report is written again"

    good, other = (row["track_id"] for row in world.rows("mel", "track_id")[:2])
    paths = {row["track_id"]: row["audio_path"] for row in csv.DictReader((world.landing / "manifest.csv").open())}
    shutil.copyfile(world.landing / paths[other], world.landing / paths[good])
    status, _, _ = world.run("--to", "mel", capsys=capsys)
    assert (status, world.summary("mel")["rows"]["crops_computed"]) == (0, 1)

    status, printed, line = world.run("--to", "ingest", "listening.path=/nowhere/log.csv", capsys=capsys)
    assert (status, printed, line["status"]) == (3, [], "failed")
    assert line["error"].startswith("ingest run r failed: ") and "/nowhere/log.csv" in line["error"]
    assert "/nowhere/log.csv" in world.summary("ingest")["error"]


def test_a_log_too_small_to_be_measured_gets_its_lists(world, tmp_path, capsys):
    """Check a log whose tracks are all drawn as test tracks: nothing is left to fit under strict."""
    plays = ["anna,t2,3", "anna,t4,1", "bert,t4,2", "carla,t5,5"]
    (tmp_path / "log.csv").write_text("user_id,track_id,play_count\n" + "\n".join(plays) + "\n")
    own = [f"lake.root={tmp_path / 'lake'}", f"report.path={tmp_path / 'report.html'}", "audio.manifest=null"]
    log = [f"listening.path={tmp_path / 'log.csv'}", "listening.columns.played_at=null", "catalogue.sources=[]"]
    status, _, line = world.run(*own, *log, capsys=capsys)
    assert (status, line["status"]) == (0, "succeeded"), line["error"]
    evaluated = {name: outcome for name, outcome in line["stages"].items() if name.endswith("-eval")}
    assert evaluated == {f"{job} r-eval": "nothing to measure" for job in FITTED}
    assert (line["stages"]["topn r"], line["stages"]["report r"]) == ("done", "done")
    assert len(Lake(str(tmp_path / "lake")).look("recommendations", ("user_idx",), position=1)) == 3
    assert (tmp_path / "report.html").exists()


CATALOGUE = """
catalogue:
  sources:
    - path: {path}
      columns: {{track: track, artist_name: artist}}
"""


@pytest.mark.parametrize(("known", "learnt"), [("new1,Bach", False), ("t1,Bach\nnew1,Bach", True)])
def test_content_of_hardly_any_played_track_stops_no_lists(world, tmp_path, capsys, caplog, known, learnt):
    """Check a catalogue of tracks that nobody has played, and one that knows a single played track, for two ranks."""
    plays = [f"u{u},t{t},{1 + (u + t) % 3}" for u in range(12) for t in range(15) if (u * 7 + t * 3) % 4]
    (tmp_path / "log.csv").write_text("user_id,track_id,play_count\n" + "\n".join(plays) + "\n")
    (tmp_path / "new.csv").write_text(f"track,artist\n{known}\n")
    (tmp_path / "new.yaml").write_text(CATALOGUE.format(path=tmp_path / "new.csv"))
    own = [f"lake.root={tmp_path / 'lake'}", f"report.path={tmp_path / 'report.html'}", "audio.manifest=null"]
    log = [f"listening.path={tmp_path / 'log.csv'}", "listening.columns.played_at=null"]
    two = [
        "train.distribution=torch",
        "train.workers=2",
        "evaluation.test_tracks=0.1",
        "evaluation.validation_tracks=0.1",
    ]
    status, _, line = world.run("--config", str(tmp_path / "new.yaml"), *own, *log, *two, capsys=capsys)
    assert (status, line["status"]) == (0, "succeeded"), line["error"]
    of_train = "done" if learnt else "nothing to learn"
    assert (line["stages"]["train r"], line["stages"]["blend r"]) == (of_train, of_train)
    assert (line["stages"]["topn r-eval"], line["stages"]["topn r"]) == ("done", "done")
    assert ("1 training tracks are too few for 2 ranks: one trains" in caplog.text) == learnt
    assert Lake(str(tmp_path / "lake")).count("recommendations", run_id="r") > 0
