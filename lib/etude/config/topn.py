"""Define the settings of ranking."""

from typing import Literal

from pydantic import Field, model_validator

from etude.config.base import Section


class TopnSettings(Section):
    """Configure the top-N lists."""

    n: int = Field(100, ge=1, le=10_000)
    """Length of each user's list."""
    exclude_heard: bool = True
    """Whether tracks with training plays of the user are excluded from the user's list (protocol paper: never)."""
    exclude_heard_days: int | None = Field(None, ge=1)
    """With topn.exclude_heard, number of days up to the batch date whose plays exclude a track; null means all plays. A
    play without a time belongs to the day of the batch that counted it, and in an evaluation always excludes."""
    candidates: str | None = Field(None, min_length=1)
    """Condition in Spark SQL on the columns of `tracks` that every listed track fulfils, such as
    `release_year >= 2020 AND array_contains(tags, 'jazz')`; null admits all tracks."""
    never: str | None = Field(None, min_length=1)
    """Path of tracks that are never listed: Parquet (*.parquet), or CSV with a header. The column track_id names them;
    the column user_id, if there is one, the user who doesn't get a track, as in `users`; null or empty means all."""
    max_per_artist: int | None = Field(None, ge=1)
    """Largest number of tracks of one artist in a list, not counting those of unknown artists; null means no limit."""
    repeats: int | None = Field(None, ge=1, le=10_000)
    """Length of each user's second list, in the table `repeats`: of the tracks that the user has heard, the best now;
    null: none. Protocol none only."""
    factors: Literal["blended", "separate"] = "blended"
    """blended: those of a blend run, if there is one that was built on the wmf run; separate: fitted factors for warm
    tracks and predicted ones for cold tracks. Protocol paper always takes separate ones."""
    cold_share: float | None = Field(None, ge=0, le=1)
    """Smallest share of cold tracks among the first k of a list, for every k, rounded down; null means no quota."""
    most_cold_share: float | None = Field(None, ge=0, le=1)
    """Largest share of cold tracks among the first k of a list, for every k, rounded down, as long as there are other
    tracks; null means no limit."""
    cold_warning: float = Field(0.5, ge=0, le=1)
    """Share of cold tracks in published lists above which topn warns: factors from content may be too long."""
    publish: bool = True
    """Whether lists of evaluation.protocol=none are served as soon as the run has succeeded; otherwise
    `etude release promote RUN_ID` publishes them."""
    broadcast_mb: int = Field(2048, ge=1)
    """Largest size in MB of the candidates' factors; every Python worker of the job holds a copy."""
    users_per_task: int = Field(20_000, ge=1)
    """Largest number of users per task; smaller if cores would otherwise be idle."""

    @model_validator(mode="after")
    def _shares_fit(self) -> "TopnSettings":
        least, most = self.cold_share or 0.0, self.most_cold_share
        if most is not None and most < least:
            raise ValueError(f"most_cold_share={most:g} is below cold_share={least:g}; expected at least as much")
        return self
