"""ingest refuses what was planted in the demo's log, each row for its reason, and keeps the rest."""

import json
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from omegaconf import OmegaConf

from etude.config import load_settings
from etude.job import Arguments, execute
from etude.logs import job_logger

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
import ingest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_ingest_refuses_exactly_what_was_planted(corpus, spark, tmp_path) -> None:
    layer = OmegaConf.load(ROOT / "conf" / "demo.yaml")
    text = OmegaConf.to_yaml(layer).replace("build/demo/landing", str(corpus.folder))
    (tmp_path / "demo.yaml").write_text(text)
    settings = load_settings([str(tmp_path / "demo.yaml")], [f"lake.root={tmp_path}/lake"])
    outcome = execute("ingest", ingest.run, spark, Arguments(settings, date(2026, 1, 31), "r"), job_logger())
    assert outcome.exit_code == 0, json.loads(outcome.line)["error"]
    expected = corpus.expected["plays"]
    rejects = rows(tmp_path / "lake" / "rejects")
    of_log = rejects.filter(pl.col("source") == "conservatoire")
    assert Counter(of_log["reason"].to_list()) == expected["refused"]
    assert rejects.height == of_log.height  # nothing is wrong with the catalogues' rows
    plays = rows(tmp_path / "lake" / "plays")
    assert plays.height == expected["kept"]
    tracks = rows(tmp_path / "lake" / "tracks")
    missing = corpus.expected["catalogue"]
    known = tracks.filter(pl.col("track_id").str.starts_with("t"))
    assert known.height == corpus.settings.tracks
    assert known["release_year"].null_count() == missing["without_release"]
    assert known["artist_id"].null_count() == missing["without_artist"]


def rows(table: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(uri, hive_partitioning=True) for uri in DeltaTable(str(table)).file_uris())
