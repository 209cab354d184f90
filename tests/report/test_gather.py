"""Test how facts are gathered from the lake: from the right runs, and from few enough rows."""

from datetime import datetime, timezone

import pytest

from etude.config.report import ReportSettings
from etude.errors import InputMissingError
from etude.lake import Lake
from etude.report.gather import gather
from etude.report.page import render

pytestmark = pytest.mark.slow

NOW = datetime(2026, 2, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def facts(spark, small_lake):
    lake = Lake(str(small_lake), spark)
    return gather(lake, lake, ReportSettings(sample_users=3, sample_length=3), NOW)


def test_the_chains_go_back_to_the_plays(facts, small_lake):
    assert {job: run.run_id for job, run in facts.evaluation.items()} == dict.fromkeys(
        ("ingest", "wmf", "mel", "train", "topn"), "eval"
    )
    assert facts.production["topn"].run_id == "prod"
    assert facts.production["ingest"].outputs["plays"] == Lake(str(small_lake)).version("plays")
    assert facts.evaluation_figures.protocol == "strict"


def test_figures_are_those_of_the_chain_only(facts):
    assert facts.evaluation_figures.value("fusion", "cold", "recall", 20) == pytest.approx(0.2)
    assert facts.production_figures.value("fusion", "cold", "recall", 20) is None
    assert len(facts.production_figures.curve("wmf", "train", "loss")) == 5


def test_counts(facts):
    assert (facts.listening.users, facts.listening.tracks, facts.listening.batches) == (6, 10, 1)
    assert facts.listening.rows == facts.listening.interactions
    assert [(r.job, r.reason, r.rows) for r in facts.listening.rejects] == [
        ("ingest", "duplicate", 2), ("ingest", "bad_timestamp", 1), ("mel", "too_short", 1)
    ]  # fmt: skip
    assert (facts.catalogue.tracks, facts.catalogue.titled, facts.catalogue.with_audio) == (12, 11, 4)
    assert facts.lists.by_source == {"warm": 15, "cold": 5, "popularity": 4}
    assert facts.lists.users == 6


def test_sample_users_go_from_the_least_to_the_most_active(facts):
    active = [sample.tracks_played for sample in facts.samples]
    assert active == sorted(active)
    assert len({sample.user_idx for sample in facts.samples}) == 3
    for sample in facts.samples:
        assert len(sample.recommended) == 3
        plays = [line.number for line in sample.played]
        assert plays == sorted(plays, reverse=True)


def test_mel_pictures_prefer_cold_tracks_of_the_sample(facts):
    assert [mel.track_id for mel in facts.mels] == ["T10", "T03"]
    assert facts.mel_rows == 3  # tracks of these settings, without second crops or mel rows of other settings
    assert facts.mels[0].db.shape == (16, 12)
    assert facts.mels[0].hop_length == 512


def test_the_gathered_facts_make_a_page(facts):
    html = render(facts)
    assert "Study no. 10" in html
    for raw_id in ("ann", "bob", "fay"):
        assert f">{raw_id}<" not in html


def test_an_empty_lake_is_a_missing_input(lake):
    with pytest.raises(InputMissingError, match="no succeeded run"):
        gather(lake, lake, ReportSettings(), NOW)


def test_a_named_run_that_is_not_there_is_a_missing_input(spark, small_lake):
    lake = Lake(str(small_lake), spark)
    with pytest.raises(InputMissingError, match="no succeeded topn run nope"):
        gather(lake, lake, ReportSettings(evaluation_run_id="nope"), NOW)
