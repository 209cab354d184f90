"""Test that the planted structure follows the settings."""

import numpy as np
import pytest
from pydantic import ValidationError

from etude.config.demo import DemoSettings
from etude.demo.latent import PARTS, STYLE, TAG_COUNT, TAGS_PER_TRACK, plant_learners, plant_tracks, taste_space
from etude.demo.names import TAGS

DEFAULT = DemoSettings(tracks=1200, users=1500)


def r_squared(features: np.ndarray, target: np.ndarray) -> float:
    """Return the adjusted R^2 of a linear regression of the target on the features."""
    given = np.column_stack([np.ones(len(features)), features])
    residual = target - given @ np.linalg.lstsq(given, target, rcond=None)[0]
    plain = 1 - (residual**2).sum() / ((target - target.mean(axis=0)) ** 2).sum()
    return 1 - (1 - plain) * (len(features) - 1) / (len(features) - given.shape[1])


@pytest.mark.parametrize(
    "shares",
    [{}, {"share_audible": 0.0}, {"share_audible": 0.9, "share_artist": 0.0, "share_tags": 0.1, "share_year": 0.0}],
)
def test_each_share_is_the_variance_of_its_part(shares: dict[str, float]) -> None:
    settings = DemoSettings(tracks=1200, users=1500, **shares)
    tracks, learners = plant_tracks(settings), plant_learners(settings)
    for part in PARTS:
        alone = {f"share_{other}": 0.0 for other in PARTS if other not in ("hidden", part)}
        only = settings.model_copy(update=alone)
        if part == "hidden":
            user, track = learners.parts["hidden"], tracks.parts["hidden"]
            got = np.var(user @ track.T * np.sqrt(max(settings.share_hidden, 0) / track.shape[1]))
        else:
            user, track = taste_space(only, tracks, learners)
            hidden = learners.parts["hidden"].shape[1]
            got = np.var(user[:, :-hidden] @ track[:, :-hidden].T)
        assert got == pytest.approx(getattr(settings, f"share_{part}"), rel=0.1, abs=1e-9), part
    user, track = taste_space(settings, tracks, learners)
    assert np.var(user @ track.T) == pytest.approx(1, rel=0.1)


def test_what_is_not_audible_is_hidden_and_shares_cannot_pass_one() -> None:
    assert DemoSettings(share_audible=0.0).share_hidden == pytest.approx(DemoSettings().share_hidden + 0.5)
    with pytest.raises(ValidationError, match="expected at most 1"):
        DemoSettings(share_audible=0.9)


def test_sound_does_not_tell_what_only_the_artist_or_the_tags_tell() -> None:
    tracks = plant_tracks(DEFAULT)
    for part in ("artist", "tags", "hidden"):
        assert r_squared(tracks.style, tracks.parts[part]) < 0.02, part
    assert r_squared(tracks.style, tracks.parts["audible"]) > 0.9
    artist = np.eye(DEFAULT.artist_count)[tracks.artist][:, 1:]
    assert r_squared(artist, tracks.parts["artist"]) == pytest.approx(1)
    assert r_squared(artist, tracks.parts["audible"]) == pytest.approx(DEFAULT.artist_cohesion, abs=0.05)
    assert abs(r_squared(artist, tracks.parts["tags"])) < 0.05
    weight = np.where(tracks.tags >= 0, 1 / np.arange(1, TAGS_PER_TRACK + 1), 0.0)
    tags = np.zeros((len(weight), TAG_COUNT))
    np.add.at(tags, (np.arange(len(tags))[:, None], tracks.tags), weight / weight.sum(axis=1, keepdims=True))
    assert r_squared(tags[:, 1:], tracks.parts["tags"]) == pytest.approx(1)
    assert abs(r_squared(np.column_stack([artist, tags[:, 1:]]), tracks.parts["hidden"])) < 0.05


def test_without_cohesion_sound_and_artist_have_nothing_in_common() -> None:
    settings = DEFAULT.model_copy(update={"artist_cohesion": 0.0})
    tracks = plant_tracks(settings)
    assert abs(r_squared(np.eye(settings.artist_count)[tracks.artist][:, 1:], tracks.style)) < 0.03


def test_style_is_standard_and_brand_new_tracks_are_met_by_nobody() -> None:
    tracks = plant_tracks(DEFAULT)
    assert tracks.style.shape == (1200, len(STYLE))
    np.testing.assert_allclose(tracks.style.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(tracks.style.std(axis=0), 1, atol=1e-9)
    unheard = tracks.popularity == 0
    assert unheard.sum() == 48
    assert set(tracks.year[unheard]) == {2025}
    assert tracks.year[~unheard].max() == 2024
    assert tracks.popularity.sum() == pytest.approx(1)
    assert set(tracks.artist) == set(range(DEFAULT.artist_count))
    assert len(TAGS) == len(set(TAGS)) == TAG_COUNT


def test_artists_few_enough_to_have_nothing_left_still_differ() -> None:
    tracks = plant_tracks(DemoSettings(tracks=40, artists=3, users=5))
    assert len(np.unique(tracks.parts["artist"], axis=0)) == 3
