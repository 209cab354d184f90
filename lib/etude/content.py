"""Tell what a lake knows of its tracks apart from plays: sound, artist, year and tags."""

from __future__ import annotations

from etude.config import Settings
from etude.lake.lake import Lake


def has_audio(settings: Settings, lake: Lake) -> bool:
    """Tell if the mel stage has anything to read."""
    if settings.audio.manifest or settings.audio.root:
        return True
    return not lake.read("tracks").where("audio_uri IS NOT NULL").isEmpty()


def has_features(lake: Lake) -> bool:
    """Tell if the network has anything to predict factors from."""
    known = lake.read("tracks").where("artist_id IS NOT NULL OR release_year IS NOT NULL OR size(tags) > 0")
    return lake.count("mel") > 0 or not known.isEmpty()
