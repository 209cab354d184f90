"""Choose the runs that a report is about: a result's run and the runs that it came from, with their figures."""

from __future__ import annotations

from collections.abc import Sequence

from etude.errors import DataCheckError, InputMissingError
from etude.lake import ledger, releases
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake
from etude.lake.runs import Run
from etude.report.facts import Chain, Figure, Figures
from etude.stages import makers

_MOST_FIGURES = 50_000
_EVALUATED = ("strict", "paper")
_COLUMNS = ("run_id", "job", "model", "slice", "metric", "value", "k", "step", "seed")


def chains(
    lake: Lake, graph: RunGraph, evaluation_run_id: str | None, production_run_id: str | None
) -> tuple[Chain, Chain]:
    """Return the evaluated runs and the production runs, as asked for or chosen.

    Evaluation: the newest succeeded run under strict or paper of the latest stage that any reached. Production: the
    served lists, or if there are none the newest run under none.

    Raises:
        InputMissingError: a run asked for hasn't succeeded, or no run has.
    """
    if not graph.newest(makers()):
        raise InputMissingError("no succeeded run in the lake; run jobs/pipeline.py first")
    release = releases.current(lake)
    served = production_run_id or (release.run_of("topn") if release else None)
    evaluated = _named(graph, evaluation_run_id) if evaluation_run_id else _furthest(graph, _EVALUATED)
    produced = _named(graph, served) if served else _furthest(graph, ("none",))
    evaluation, production = (_whole(lake, graph.chain(last)) for last in (evaluated, produced))
    return evaluation, production


def _named(graph: RunGraph, run_id: str) -> Run:
    run = graph.succeeded("topn", run_id)
    if run is None:
        raise InputMissingError(f"no succeeded topn run {run_id} in the lake")
    return run


def _furthest(graph: RunGraph, protocols: Sequence[str]) -> Run | None:
    """Return the newest run of the last stage that any run under these protocols reached."""
    for job in reversed(makers()):
        found = graph.newest((job,), protocols)
        if found:
            return found[0]
    return None


def _whole(lake: Lake, chain: Chain) -> Chain:
    return {job: ledger.whole(lake, run) for job, run in chain.items()}


def figures(lake: Lake, *wanted: Chain) -> list[Figures]:
    """Return the rows of `metrics` that each chain's runs wrote.

    Raises:
        DataCheckError: there are more than 50,000.
    """
    run_ids = sorted({run.run_id for chain in wanted for run in chain.values()})
    n = lake.count("metrics", run_id=run_ids)
    if n > _MOST_FIGURES:
        raise DataCheckError(f"metrics has {n} rows of the runs to report, more than {_MOST_FIGURES}")
    rows = lake.look("metrics", _COLUMNS, run_id=run_ids)
    return [_figures(chain, rows) for chain in wanted]


def _figures(chain: Chain, rows: Sequence[dict[str, object]]) -> Figures:
    mine = {(run.run_id, run.job) for run in chain.values()}
    protocol = list(chain.values())[-1].protocol if chain else "none"
    values = ({name: row[name] for name in _COLUMNS[1:]} for row in rows if (row["run_id"], row["job"]) in mine)
    return Figures((Figure(**each) for each in values), protocol)  # type: ignore[arg-type]
