"""Define the settings of the evaluation: protocol, splits and list lengths."""

from typing import Annotated, Literal

from pydantic import Field

from etude.config.base import Section


class EvaluationSettings(Section):
    """Configure the evaluation protocol and its splits."""

    protocol: Literal["none", "strict", "paper"] = "none"
    """none: use all plays, compute no metrics; strict: withhold held-out tracks from every stage; paper: follow the
    paper."""
    k: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field((5, 10, 20, 50, 100), min_length=1)
    """Lengths of the list at which ranking metrics are computed."""
    measured_split: Literal["test", "validation"] = "test"
    """Held-out plays and tracks by which topn (strict, paper) measures lists; settings are chosen by validation, so
    that test is read once."""
    per_user: bool = False
    """Whether topn (strict, paper) also writes each user's metrics to user_metrics: hundreds of rows per user."""
    neighbour_tracks: int = Field(3000, ge=0, le=20_000)
    """Largest number of tracks with fitted factors up to which topn (strict) measures item-kNN and EASE too; 0: never.
    Tasks hold two square matrices of that size."""
    seed: int = 1
    """Seed of the splits."""
    play_split: Literal["random", "time"] = "random"
    """Interactions to hold out per user; random: a random choice; time: those with the latest first play."""
    validation_plays: float = Field(0.1, ge=0, lt=0.5)
    """Share of each user's interactions held out for validation, rounded; at least one stays for training."""
    test_plays: float = Field(0.2, ge=0, lt=0.5)
    """Share of each user's interactions held out for testing, rounded; at least one stays for training."""
    track_split: Literal["track", "artist", "release_year"] = "track"
    """Unit in which cold tracks are drawn; release_year: the newest releases (tracks without a year stay in
    training)."""
    validation_tracks: float = Field(0.1, ge=0, lt=0.5)
    """Share of tracks held out for validation (with protocol none only early stopping uses them)."""
    test_tracks: float = Field(0.2, ge=0, lt=0.5)
    """Share of tracks held out as cold for testing."""
