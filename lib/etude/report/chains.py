"""Which runs a report is about: a result's run, the runs it came from, and their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.errors import InputMissingError
from etude.lake.lineage import COLUMNS, MAKERS, Brief, sources
from etude.report.facts import Chain, Figure, Figures, Run

_NEWEST = 5_000
_MOST_FIGURES = 50_000
_EVALUATED = ("strict", "paper")


class Reader(Protocol):
    """A lake, or a job's view of it."""

    def read(self, table: str, **equals: Any) -> DataFrame:
        """Rows of a table where every `column=value` holds."""


def chains(
    lake: Reader, root: str, evaluation_run_id: str | None, production_run_id: str | None
) -> tuple[Chain, Chain]:
    """The evaluated runs and the production runs of the lake at `root`, as asked for or chosen.

    Evaluation: the newest succeeded run under strict or paper of the latest stage that any reached. Production: the
    lists in force, else the newest under none.

    Raises:
        InputMissingError: a run asked for hasn't succeeded, or no run has.
    """
    known = _succeeded(lake)
    if not known:
        raise InputMissingError("no succeeded run in the lake; run jobs/pipeline.py first")
    in_force = production_run_id or _in_force(lake)
    evaluated = _named(known, evaluation_run_id) if evaluation_run_id else _newest(known, _EVALUATED)
    produced = _named(known, in_force) if in_force else _newest(known, ("none",))
    briefs = [_chain(root, known, last) for last in (evaluated, produced)]
    whole = _whole(lake, [brief for chain in briefs for brief in chain.values()])
    found = [{job: whole[job, chain[job].run_id] for job in MAKERS if job in chain} for chain in briefs]
    return found[0], found[1]


def _succeeded(lake: Reader) -> list[Brief]:
    """The newest succeeded runs, newest first, without their settings."""
    rows = lake.read("runs", status="succeeded").where(F.col("job").isin(*MAKERS)).select(*COLUMNS)
    return [Brief.from_row(row.asDict()) for row in rows.orderBy(F.desc("ended_at")).limit(_NEWEST).collect()]


def _in_force(lake: Reader) -> str | None:
    row = lake.read("current").where(F.col("table") == "recommendations").first()
    return None if row is None else str(row["run_id"])


def _named(known: Sequence[Brief], run_id: str) -> Brief:
    found = [brief for brief in known if (brief.run_id, brief.job) == (run_id, "topn")]
    if not found:
        raise InputMissingError(f"no succeeded topn run {run_id} in the lake")
    return found[0]


def _newest(known: Sequence[Brief], protocols: Sequence[str]) -> Brief | None:
    for job in reversed(MAKERS):
        found = [brief for brief in known if brief.job == job and brief.protocol in protocols]
        if found:
            return found[0]
    return None


def _chain(root: str, known: Sequence[Brief], last: Brief | None) -> dict[str, Brief]:
    """The run and those it came from; where several of a job are among them, the one that the latest stages lead to."""
    chain: dict[str, Brief] = {}

    def follow(run: Brief) -> None:
        if run.job not in chain:
            chain[run.job] = run
            for source in sources(root, run, known):
                follow(source)

    if last is not None:
        follow(last)
    return chain


def _whole(lake: Reader, briefs: Sequence[Brief]) -> dict[tuple[str, str], Run]:
    rows = lake.read("runs").where(F.col("run_id").isin(*{brief.run_id for brief in briefs}))
    return {(row["job"], row["run_id"]): Run.from_row(row.asDict()) for row in rows.collect()}


def figures(lake: Reader, *wanted: Chain) -> list[Figures]:
    """The rows of `metrics` that each chain's runs wrote."""
    runs = {(run.job, run.run_id) for chain in wanted for run in chain.values()}
    names = ("run_id", "job", "model", "slice", "metric", "value", "k", "step", "seed")
    rows = lake.read("metrics").where(F.col("run_id").isin(*{run_id for _, run_id in runs})).select(*names)
    found = rows.limit(_MOST_FIGURES).collect()
    return [_figures(chain, found) for chain in wanted]


def _figures(chain: Chain, rows: Sequence[Any]) -> Figures:
    mine = {(run.run_id, run.job) for run in chain.values()}
    protocol = list(chain.values())[-1].protocol if chain else "none"
    return Figures((Figure(*row[1:]) for row in rows if (row["run_id"], row["job"]) in mine), protocol)
