"""Define the settings of the factorisation."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class WmfSettings(Section):
    """Configure weighted matrix factorisation (Hu, Koren & Volinsky 2008)."""

    mode: Literal["fit", "refit", "fold_in"] = "fit"
    """fit: factorise from scratch; refit: fit again, from an earlier run's factors and in its basis; fold_in: keep an
    earlier run's factors and add those of new or newly played rows. The last two need evaluation.protocol=none."""
    engine: Literal["auto", "barrier", "blocked", "mllib"] = "auto"
    """Solver implementation; auto: barrier where Spark can run a barrier stage; else blocked if its factors fit in
    wmf.max_broadcast_mb, otherwise mllib. The reason is logged."""
    rank: int = Field(100, ge=1, le=1024)
    """Length of the factors."""
    confidence: Literal["linear", "log"] = "log"
    """linear: c = 1 + alpha r; log: c = 1 + alpha log(1 + r / epsilon)."""
    alpha: float = Field(1.0, gt=0)
    """Slope of the confidence."""
    epsilon: float = Field(1.0, gt=0)
    """Scale of r in the log confidence."""
    regularization: float = Field(10.0, gt=0)
    """Regularisation parameter lambda of the objective. Without it, the solution isn't unique if wmf.rank exceeds the
    users or the tracks."""
    regularization_scaling: Literal["none", "frequency"] = "none"
    """none: lambda |x|^2 for every row; frequency: lambda n |x|^2 with n the row's interactions, as in MLlib."""
    iterations: int = Field(15, ge=1)
    """Number of full sweeps (users, then tracks)."""
    tolerance: float | None = Field(None, gt=0, lt=1)
    """Relative decrease of the loss by a sweep below which the fit ends early; null means all iterations. Not in
    mllib."""
    solver: Literal["cg", "cholesky"] = "cg"
    """Solver of a row, except in mllib; cg: wmf.cg_steps conjugate-gradient steps from the last factors; cholesky:
    exact."""
    cg_steps: int = Field(2, ge=1, le=100)
    """Conjugate-gradient steps per row and sweep; take 3 if confidences are very large (linear, alpha 40)."""
    seed: int = 1
    """Seed of the initial factors."""
    window_days: int | None = Field(None, ge=1)
    """Number of days up to the batch date whose plays are used; null means all plays up to it."""
    checkpoint_interval: int = Field(5, ge=1)
    """With barrier, the iterations after which the factors are kept; a fit that was cut short goes on from them."""
    partitions: int | None = Field(None, ge=1)
    """Largest number of ranks of barrier, or of tasks of a half sweep; null means one per task slot, or with blocked on
    large inputs three per slot. Results don't depend on it, but the start values of mllib do."""
    max_broadcast_mb: int = Field(900, ge=1)
    """Largest size in MB of factors (4 bytes per value) that one process collects: with blocked those of users and
    tracks, which it broadcasts to every Python worker; with any engine those of all users if tracks are folded in on
    them (wmf.mode=fold_in, or held-out tracks of an evaluation). 900 MB hold 2.3 million rows of rank 100. A larger
    value needs a larger spark.driver.maxResultSize (default 1g)."""
