"""Tell what a lake knows of its tracks apart from plays: sound, artist, year and tags."""

from __future__ import annotations

from etude.config import Settings
from etude.lake.lake import Lake


def has_audio(settings: Settings, lake: Lake) -> bool:
    """Tell if the mel stage has anything to read."""
    if settings.audio.manifest or settings.audio.root:
        return True
    return lake.has_values("tracks", ["audio_uri"])


def has_features(lake: Lake) -> bool:
    """Tell if the network has anything to predict factors from."""
    return lake.count("mel") > 0 or lake.has_values("tracks", ["artist_id", "release_year", "tags"])
