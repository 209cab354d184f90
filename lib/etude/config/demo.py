"""Settings of the demo corpus: how large the synthetic conservatoire is, and which source tells what of taste."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from etude.config.base import Section


class DemoSettings(Section):
    """The synthetic conservatoire. What isn't audible, told by artist, tags or year is hidden: nothing tells it."""

    users: int = Field(2000, ge=1)
    """Learners in the log."""
    tracks: int = Field(1500, ge=2)
    """Pieces in the catalogue."""
    artists: int | None = Field(None, ge=1)
    """Composers; null means 8% of the tracks."""
    events: int = Field(180_000, ge=1)
    """Good rows of the log, about (repeats are drawn)."""
    seed: int = Field(1, ge=0)
    """Seed of everything in the corpus."""
    calendar_year: int = Field(2025, ge=1971, le=2100)
    """The year (UTC) that the log covers."""
    log_format: Literal["csv", "tsv", "parquet"] = "csv"
    """Format of the log. Parquet is typed, so faults that only text can hold aren't planted there."""
    audio: bool = True
    """Whether audio files and their manifest are written."""
    processes: int | None = Field(None, ge=1)
    """Processes that render audio; null means one a core. The corpus doesn't depend on it."""

    share_audible: float = Field(0.5, ge=0, le=1)
    """Share of the variance of taste that lies in what can be heard."""
    share_artist: float = Field(0.2, ge=0, le=1)
    """Share that only the artist tells (artists also explain `artist_cohesion` of the audible share)."""
    share_tags: float = Field(0.15, ge=0, le=1)
    """Share that only the tags tell."""
    share_year: float = Field(0.05, ge=0, le=1)
    """Share that the release year tells (it follows the artist's career, so the artist tells part of it too)."""
    artist_cohesion: float = Field(0.3, ge=0, le=1)
    """Share of the variance of sound that lies between artists; 0: sound and artist have nothing in common."""
    schools: int = Field(8, ge=1)
    """Clusters of artists in style space."""

    taste: float = Field(4.0, ge=0)
    """How strongly taste decides what learners play of what they meet; 0: not at all."""
    popularity: float = Field(0.9, ge=0)
    """Standard deviation of the log of a track's exposure, half of its variance shared by the artist's tracks."""
    exposure: float = Field(16.0, ge=1)
    """Tracks that learners meet for each one that they play, drawn by popularity."""
    whims: float = Field(0.1, ge=0, le=1)
    """Share of played tracks that are picked without regard to taste."""
    repeats: float = Field(1.8, ge=1)
    """Mean rows of a learner and track; liked tracks are repeated more."""
    unheard_tracks: float = Field(0.04, ge=0, lt=1)
    """Share of tracks that nobody has played: this year's new pieces."""

    bad_rows: float = Field(0.012, ge=0, lt=0.5)
    """Faulty rows planted in the log, as a share of the good ones."""
    bad_audio: float = Field(0.02, ge=0, lt=0.5)
    """Share of tracks whose audio file can't be used (broken, silent, too short, missing)."""
    mislabelled_audio: float = Field(0.01, ge=0, lt=0.5)
    """Share of tracks whose file can be decoded though its suffix lies."""
    without_audio: float = Field(0.02, ge=0, lt=0.5)
    """Share of tracks that the manifest doesn't list."""
    catalogue_gaps: float = Field(0.1, ge=0, lt=1)
    """Share of years and tags (a third of it: artists) that the first catalogue lacks; the second fills 4 in 5."""

    @model_validator(mode="after")
    def _shares_fit(self) -> DemoSettings:
        if self.share_hidden < -1e-9:
            raise ValueError("share_audible, share_artist, share_tags and share_year together must not pass 1")
        return self

    @property
    def share_hidden(self) -> float:
        """Share of the variance of taste that nothing tells: what the other shares leave."""
        return 1.0 - self.share_audible - self.share_artist - self.share_tags - self.share_year

    @property
    def artist_count(self) -> int:
        """Number of artists, at most one a track."""
        return min(self.artists or max(2, round(0.08 * self.tracks)), self.tracks)
