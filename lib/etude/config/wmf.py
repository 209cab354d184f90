"""Settings of the factorisation."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class WmfSettings(Section):
    """Weighted matrix factorisation (Hu, Koren & Volinsky 2008)."""

    engine: Literal["auto", "blocked", "mllib"] = "auto"
    """Which implementation fits the factors."""
    rank: int = Field(100, ge=1, le=1024)
    """Length of the factors."""
    confidence: Literal["linear", "log"] = "log"
    """linear: c = 1 + alpha r; log: c = 1 + alpha log(1 + r / epsilon)."""
    alpha: float = Field(1.0, gt=0)
    """Slope of the confidence."""
    epsilon: float = Field(1.0, gt=0)
    """Scale of r in the log confidence."""
    regularization: float = Field(10.0, ge=0)
    """lambda of the objective."""
    iterations: int = Field(15, ge=1)
    """Full sweeps (users, then tracks)."""
    seed: int = 1
    """Seed of the initial factors."""
