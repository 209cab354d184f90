"""The ingest job on the real logs, through spark-submit; the triplets' are the first link of test_real_chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lake_files import OUTPUTS, rows

CONF = Path(__file__).resolve().parents[2] / "conf"

pytestmark = [pytest.mark.slow, pytest.mark.real]


@pytest.fixture
def real(submit, real_data, tmp_path):
    """Run the job by spark-submit with one of the settings files for the real logs."""

    def run(conf, *overrides, code=0):
        done = submit(
            "ingest", "--config", str(CONF / f"{conf}.yaml"), f"lake.root={tmp_path / 'lake'}", *overrides,
            env={"ETUDE_DATA": str(real_data)},
            as_users=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done

    run.lake = tmp_path / "lake"
    return run


def test_the_sample_of_one_percent_with_genres(real):
    line, _ = real("taste-profile-1pct")
    figures = line["rows"]
    assert (figures["rows_in"], figures["plays_kept"], figures["users"]) == (497609, 497609, 334358)
    assert figures["interactions"] == 199619
    genres = line["catalogues"]["tagtraum_cd1"]
    assert genres == {"tracks": 133676, "played": 33190, "ambiguous": 0}
    core = rows(real.lake, "interactions")
    assert len({row["user_idx"] for row in core}) == 78554 and len({row["track_idx"] for row in core}) == 33987
    tracks = rows(real.lake, "tracks")
    assert sum(len(row["tags"]) == 2 for row in tracks) == 35527
    assert len({row["track_id"] for row in rows(real.lake, "plays")}) == 107001


def test_its_5_core_is_empty_and_nothing_is_written(real):
    five = ("listening.min_plays_per_user=5", "listening.min_plays_per_track=5", "catalogue.sources=[]")
    line, done = real("taste-profile-1pct", *five, code=3)
    assert "listening.min_plays_per_user=5" in line["error"] and "listening.min_plays_per_track=5" in done.stdout
    assert not any((real.lake / table).exists() for table in OUTPUTS)


def test_the_last_fm_events(real):
    line, _ = real("lastfm-1k")
    figures = line["rows"]
    assert (figures["rows_in"], figures["plays_kept"], figures["rejects"], figures["users"]) == (5000, 5000, 0, 2)
    plays = rows(real.lake, "plays")
    by_user = {user: sum(row["user_id"] == user for row in plays) for user in {row["user_id"] for row in plays}}
    assert sorted(by_user.values()) == [3, 4997]
    times = sorted(row["played_at"] for row in plays)
    assert (str(times[0].date()), str(times[-1].date())) == ("2008-12-08", "2009-05-04")
    assert sum(row["track_id"].startswith("name:") for row in plays) == 1396
    tracks = rows(real.lake, "tracks")
    assert all(row["title"] and row["artist_name"] and row["artist_id"] for row in tracks)
