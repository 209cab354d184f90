"""Settings of the factorisation."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class WmfSettings(Section):
    """Weighted matrix factorisation (Hu, Koren & Volinsky 2008)."""

    mode: Literal["fit", "fold_in"] = "fit"
    """fit: factorise from scratch; fold_in: keep an earlier run's factors and add those of new or newly played rows."""
    engine: Literal["auto", "blocked", "mllib"] = "auto"
    """What fits the factors; auto: blocked where its factors fit wmf.max_broadcast_mb, else mllib, and says why."""
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
    regularization_scaling: Literal["none", "frequency"] = "none"
    """none: lambda |x|^2 for every row; frequency: lambda n |x|^2 with n the row's interactions, as MLlib has it."""
    iterations: int = Field(15, ge=1)
    """Full sweeps (users, then tracks)."""
    solver: Literal["cg", "cholesky"] = "cg"
    """How blocked solves a row: a few conjugate-gradient steps from the last factors, or exactly."""
    cg_steps: int = Field(3, ge=1, le=100)
    """Conjugate-gradient steps a row and sweep."""
    seed: int = 1
    """Seed of the initial factors."""
    window_days: int | None = Field(None, ge=1)
    """Use plays of the last so many days up to the batch date; null means all up to it."""
    partitions: int | None = Field(None, ge=1)
    """Most tasks a half sweep runs in; null means one for each task slot, with blocked three where there is much to
    do. Results of blocked don't depend on it, the start values of mllib do."""
    max_broadcast_mb: int = Field(900, ge=1)
    """Most megabytes of factors (users and tracks, 4 bytes a number) blocked ships to each Python worker and collects
    at the driver; 900 holds 2.3 million rows of rank 100. More needs a larger spark.driver.maxResultSize (1g), too."""
