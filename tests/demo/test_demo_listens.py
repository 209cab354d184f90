"""Test plays: the same for the same seed, within the year, by taste and popularity as the settings define."""

import numpy as np
import pytest

from etude.config.demo import DemoSettings
from etude.demo import listens
from etude.demo.latent import plant_learners, plant_tracks, taste_space
from etude.demo.listens import Plays, chunks

SMALL = DemoSettings(users=400, tracks=300, events=12_000)


def all_plays(settings: DemoSettings) -> tuple[Plays, int]:
    total, pieces = chunks(settings, plant_tracks(settings), plant_learners(settings))
    made = list(pieces)
    assert len(made) == total
    columns = (np.concatenate([getattr(piece, name) for piece in made]) for name in Plays.__dataclass_fields__)
    return Plays(*columns), total


def mean_liking(settings: DemoSettings, plays: Plays) -> float:
    user, track = taste_space(settings, plant_tracks(settings), plant_learners(settings))
    return float(np.einsum("ij,ij->i", user[plays.user], track[plays.track]).mean())


def test_the_log_is_as_long_as_asked_and_lies_in_the_year() -> None:
    plays, _ = all_plays(SMALL)
    assert len(plays.user) == pytest.approx(12_000, rel=0.05)
    assert len(np.unique(plays.user)) == 400
    assert plays.played_at.min() >= np.datetime64("2025-01-01").astype("datetime64[s]").astype(int)
    assert plays.played_at.max() < np.datetime64("2026-01-01").astype("datetime64[s]").astype(int)
    assert plays.play_count.min() == 1
    assert (np.diff(plays.played_at) >= 0).all()
    rows = np.stack([plays.user, plays.track, plays.played_at])
    assert np.unique(rows, axis=1).shape == rows.shape  # otherwise ingest would reject a valid row as a duplicate
    pairs = len(np.unique(plays.user * 300 + plays.track))
    assert len(plays.user) / pairs == pytest.approx(SMALL.repeats, rel=0.1)


def test_the_same_seed_gives_the_same_plays_and_another_seed_does_not() -> None:
    first, again = all_plays(SMALL)[0], all_plays(SMALL)[0]
    np.testing.assert_array_equal(first.played_at, again.played_at)
    np.testing.assert_array_equal(first.track, again.track)
    other = all_plays(SMALL.model_copy(update={"seed": 2}))[0]
    assert not np.array_equal(first.track[:100], other.track[:100])


def test_learners_are_cut_into_chunks_none_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, one = all_plays(SMALL)
    monkeypatch.setattr(listens, "CHUNK_CANDIDATES", 5_000)
    cut, many = all_plays(SMALL)
    assert one == 1
    assert many > 10
    np.testing.assert_array_equal(np.unique(cut.user), np.unique(whole.user))
    assert len(cut.user) == pytest.approx(len(whole.user), rel=0.03)
    assert mean_liking(SMALL, cut) == pytest.approx(mean_liking(SMALL, whole), abs=0.05)


@pytest.mark.parametrize(
    ("knobs", "low", "high"), [({"taste": 0.0}, -0.1, 0.1), ({"whims": 1.0}, -0.1, 0.1), ({}, 1.0, 2.0)]
)
def test_taste_decides_as_far_as_the_knobs_let_it(knobs: dict[str, float], low: float, high: float) -> None:
    settings = SMALL.model_copy(update={"repeats": 1.0, **knobs})
    assert low < mean_liking(settings, all_plays(settings)[0]) < high


def test_popular_tracks_are_played_more_and_unheard_ones_never() -> None:
    settings = SMALL.model_copy(update={"taste": 0.0})
    plays, _ = all_plays(settings)
    popularity = plant_tracks(settings).popularity
    count = np.bincount(plays.track, minlength=300)
    assert (count[popularity == 0] == 0).all()
    assert np.corrcoef(count, popularity)[0, 1] > 0.6
    flat = all_plays(settings.model_copy(update={"popularity": 0.0}))[0]
    assert np.bincount(flat.track, minlength=300)[popularity > 0].std() < 0.6 * count[popularity > 0].std()


def test_more_tracks_asked_of_a_learner_than_there_are() -> None:
    settings = DemoSettings(users=3, tracks=5, events=5000, artists=2)
    plays, _ = all_plays(settings)
    assert set(zip(plays.user, plays.track, strict=True)) == {(user, track) for user in range(3) for track in range(5)}


def test_a_learner_plays_a_track_once_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check repeats with a clock of only two values, under which nearly all would be rejected as duplicates."""
    monkeypatch.setattr(listens, "_calendar", lambda rng, year, when: (when > 0.5).astype(np.int64))
    plays, _ = all_plays(SMALL)
    rows = np.stack([plays.user, plays.track, plays.played_at])
    assert np.unique(rows, axis=1).shape == rows.shape
    assert set(plays.played_at) == {0, 1}
