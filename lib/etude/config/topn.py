"""Settings of ranking."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class TopnSettings(Section):
    """Top-N lists."""

    n: int = Field(100, ge=1)
    """Length of each user's list."""
    exclude_heard: bool = True
    """Leave out tracks the user has training plays of."""
    cold_calibration: Literal["none", "norm"] = "norm"
    """norm: scale predicted factors so that validation tracks' length matches that of warm ones."""
    cold_share: float | None = Field(None, ge=0, le=1)
    """Least share of each list kept for cold tracks; null means no quota."""
