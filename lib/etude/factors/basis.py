"""In which basis a run's factors lie: those of one fit, and of what was folded into it, can be compared."""

from __future__ import annotations

import json
from typing import Any

from etude.errors import DataCheckError
from etude.lake.ledger import Entry, Ledger


def fitted_run(ledger: Ledger, run_id: str) -> Entry:
    """The row of `runs` of the fit whose basis and objective a wmf run has: itself, or what it extends at any remove.

    Raises:
        DataCheckError: one of these runs doesn't count (any more).
    """
    row = ledger.succeeded_run("wmf", run_id)
    while row is not None and wmf_settings(row)["mode"] == "fold_in":
        row = ledger.succeeded_run("wmf", row["upstream"]["wmf"])
    if row is None:
        raise DataCheckError(f"wmf run {run_id}, or one that it extends, has no succeeded row in runs")
    return row


def wmf_settings(run: Entry) -> dict[str, Any]:
    """The `wmf` settings that a run was given."""
    settings: dict[str, Any] = json.loads(run["settings"])["wmf"]
    return settings
