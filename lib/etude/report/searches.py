"""Gather what the newest search of settings tried (jobs/tune.py)."""

from __future__ import annotations

from etude.config.tune import OF_TRIALS
from etude.lake import ledger
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.runs import Run
from etude.report.facts import Search, Trial


def newest_search(lake: Lake, graph: RunGraph) -> Search | None:
    """Return the trials of the newest search that succeeded; None if there is none, or its trials were deleted.

    An earlier search of the same run_id has trials too: only those that the last one compared are shown.
    """
    found = graph.newest(("tune",))
    if not found:
        return None
    run = ledger.whole(lake, found[0])
    metric, k = run.settings["tune"]["metric"], run.settings["tune"]["k"]
    fits = {
        fit.run_id: fit for fit in map(Run.from_row, lake.look("runs", job="wmf", run_id=run.facts.get("tried", [])))
    }
    rows = lake.look("metrics", job="topn", run_id=list(fits), metric=metric, k=k, **OF_TRIALS)
    # The number of a trial's point stands in its run_id; 0 has the settings as given.
    trials = [_trial(fits[row["run_id"]], f"{run.run_id}-0-", row["value"]) for row in rows]
    ordered = sorted(trials, key=lambda trial: (trial.rank, -trial.value))
    return Search(run.run_id, metric, k, tuple(ordered)) if ordered else None


def _trial(fit: Run, given: str, value: float) -> Trial:
    wmf = fit.settings["wmf"]
    as_given = fit.run_id.startswith(given)
    return Trial(wmf["rank"], wmf["confidence"], wmf["alpha"], wmf["regularization"], value, as_given)
