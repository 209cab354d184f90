"""Find the fit that defines the basis of a run's factors; only factors in one basis are comparable."""

from __future__ import annotations

import json
from typing import Any

from etude.errors import DataCheckError
from etude.lake.ledger import Entry, Ledger


def fitted_run(ledger: Ledger, run_id: str) -> Entry:
    """Return the row of `runs` of the fit whose basis and objective a wmf run has.

    The fit is the run itself or, if the run extends another one, the fit of that one.

    Raises:
        DataCheckError: one of these runs has no succeeded row (any more).
    """
    row = ledger.succeeded_run("wmf", run_id)
    while row is not None and wmf_settings(row)["mode"] == "fold_in":
        row = ledger.succeeded_run("wmf", row["upstream"]["wmf"])
    if row is None:
        raise DataCheckError(f"wmf run {run_id}, or one that it extends, has no succeeded row in runs; fit again")
    return row


def wmf_settings(run: Entry) -> dict[str, Any]:
    """Return the `wmf` settings of a run."""
    settings: dict[str, Any] = json.loads(run["settings"])["wmf"]
    return settings
