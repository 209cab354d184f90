"""Define the settings of the demo corpus: its size, and the share of taste that each source explains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from etude.config.base import Section


class DemoSettings(Section):
    """Configure the synthetic conservatoire. No source explains the share of taste that the four shares leave."""

    users: int = Field(2000, ge=1)
    """Number of learners in the log."""
    tracks: int = Field(1500, ge=2)
    """Number of pieces in the catalogue."""
    artists: int | None = Field(None, ge=1)
    """Number of composers; null means 8% of the tracks."""
    events: int = Field(180_000, ge=1)
    """Approximate number of valid rows in the log (repeats are drawn at random)."""
    seed: int = Field(1, ge=0)
    """Seed of the whole corpus."""
    calendar_year: int = Field(2025, ge=1971, le=2100)
    """Year (UTC) that the log covers."""
    log_format: Literal["csv", "tsv", "parquet"] = "csv"
    """Format of the log. Parquet is typed, so it gets no faults that only text can hold."""
    audio: bool = True
    """Whether audio files and their manifest are written."""
    processes: int | None = Field(None, ge=1)
    """Number of processes that render audio; null means one per core. The corpus doesn't depend on it."""

    share_audible: float = Field(0.5, ge=0, le=1)
    """Share of the variance of taste that the sound explains."""
    share_artist: float = Field(0.2, ge=0, le=1)
    """Share that only the artist explains (artists also explain `artist_cohesion` of the audible share)."""
    share_tags: float = Field(0.15, ge=0, le=1)
    """Share that only the tags explain."""
    share_year: float = Field(0.05, ge=0, le=1)
    """Share that the release year explains (it follows the artist's career, so the artist explains part of it too)."""
    artist_cohesion: float = Field(0.3, ge=0, le=1)
    """Share of the variance of sound that lies between artists; 0: sound is independent of the artist."""
    schools: int = Field(8, ge=1)
    """Number of clusters of artists in style space."""

    taste: float = Field(4.0, ge=0)
    """Strength of taste in the choice among the tracks a learner meets; 0: taste has no effect."""
    popularity: float = Field(0.9, ge=0)
    """Standard deviation of the logarithm of a track's exposure; the artist's tracks share half of its variance."""
    exposure: float = Field(16.0, ge=1)
    """Number of tracks, drawn by popularity, that a learner meets per track played."""
    whims: float = Field(0.1, ge=0, le=1)
    """Share of played tracks that are picked without regard to taste."""
    repeats: float = Field(1.8, ge=1)
    """Mean number of rows per learner and track; liked tracks are repeated more."""
    unheard_tracks: float = Field(0.04, ge=0, lt=1)
    """Share of tracks that nobody has played: new pieces of the year."""

    bad_rows: float = Field(0.012, ge=0, lt=0.5)
    """Number of faulty rows in the log per valid row."""
    bad_audio: float = Field(0.02, ge=0, lt=0.5)
    """Share of tracks whose audio file can't be used (broken, silent, too short, missing)."""
    mislabelled_audio: float = Field(0.01, ge=0, lt=0.5)
    """Share of tracks whose file can be decoded but has the wrong suffix."""
    without_audio: float = Field(0.02, ge=0, lt=0.5)
    """Share of tracks that the manifest doesn't list."""
    catalogue_gaps: float = Field(0.1, ge=0, lt=1)
    """Share of years and tags that the first catalogue lacks (artists: a third of it); the second fills 4 in 5."""

    @model_validator(mode="after")
    def _shares_fit(self) -> DemoSettings:
        if self.share_hidden < -1e-9:
            total = 1 - self.share_hidden
            raise ValueError(
                f"share_audible + share_artist + share_tags + share_year is {total:.9g}; expected at most 1"
            )
        return self

    @property
    def share_hidden(self) -> float:
        """Return the share of the variance of taste that no source explains: 1 minus the other shares."""
        return 1.0 - self.share_audible - self.share_artist - self.share_tags - self.share_year

    @property
    def artist_count(self) -> int:
        """Return the number of artists, at most one per track."""
        return min(self.artists or max(2, round(0.08 * self.tracks)), self.tracks)
