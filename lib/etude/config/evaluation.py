"""Settings of the evaluation: protocol, splits and list lengths."""

from typing import Annotated, Literal

from pydantic import Field

from etude.config.base import Section


class EvaluationSettings(Section):
    """How results are measured."""

    protocol: Literal["none", "strict", "paper"] = "none"
    """none: every play used, nothing scored; strict: held-out tracks are withheld from all; paper: as the paper did."""
    k: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field((5, 10, 20, 50, 100), min_length=1)
    """Lengths of the list at which ranking metrics are computed."""
    per_user: bool = False
    """Whether topn (strict, paper) also writes each user's metrics to user_metrics: hundreds of rows per user."""
    seed: int = 1
    """Seed of the splits."""
    play_split: Literal["random", "time"] = "random"
    """Which of a user's interactions are held out: random ones, or the tracks heard for the first time last."""
    validation_plays: float = Field(0.1, ge=0, lt=0.5)
    """Share of each user's interactions held out for choosing things, rounded; at least one stays for training."""
    test_plays: float = Field(0.2, ge=0, lt=0.5)
    """Share of each user's interactions held out for the final figures, rounded; at least one stays for training."""
    track_split: Literal["track", "artist", "release_year"] = "track"
    """Whether cold tracks are drawn by track, by whole artists, or as the newest releases (unknown years train)."""
    validation_tracks: float = Field(0.1, ge=0, lt=0.5)
    """Share of tracks held out for choosing things (with protocol none only early stopping uses them)."""
    test_tracks: float = Field(0.2, ge=0, lt=0.5)
    """Share of tracks held out as cold for the final figures."""
