"""Define the settings of blending plays and content."""

from pydantic import Field

from etude.config.base import Section


class BlendSettings(Section):
    """Configure the join of plays and content into one set of factors."""

    weight: float = Field(3.0, gt=0)
    """Weight of the factors that content predicts, in units of wmf.regularization: a track's plays outweigh its content
    the sooner, the smaller it is."""
    sweeps: int = Field(3, ge=0)
    """Number of sweeps (users, then tracks) after the tracks have been solved once with the prior."""
