"""Decide which runs fit together: whose predictions meet whose user factors, and what a fit was kept from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame

from etude.config import Settings
from etude.config.wmf import WmfSettings
from etude.errors import DataCheckError, InputMissingError
from etude.lake import ledger
from etude.lake.graph import RunGraph
from etude.lake.lake import Lake


def problem_of(graph: RunGraph, train: str, wmf: str, predicted: DataFrame) -> str | None:
    """Return why the predictions of a train run can't meet the factors of a wmf run; None if they can.

    Args:
        graph: the lake's runs.
        train: run_id of the train run.
        wmf: run_id of the wmf run.
        predicted: the train run's rows of `predicted_factors`.

    Raises:
        InputMissingError: the train run predicts nothing.
        DataCheckError: a wmf run in whose space the predictions lie doesn't count (any more).
    """
    problem = outdated(graph, train, wmf)
    if problem is not None:
        return problem
    spaces = sorted(row[0] for row in predicted.select("wmf_run_id").distinct().limit(3).collect())
    if not spaces:
        raise InputMissingError(f"train run {train} predicted no factors")
    return misfit(graph, train, wmf, spaces)


def ranks_blended(settings: Settings) -> bool:
    """Tell if topn ranks the factors of a blend run, if there is one, under these settings."""
    return settings.topn.factors == "blended" and settings.evaluation.protocol != "paper"


def blend_problem(graph: RunGraph, blend: str, upstream: Mapping[str, Sequence[str]]) -> str | None:
    """Return why the factors of a blend run can't be ranked with the plays of a wmf run; None if they can.

    Args:
        graph: the lake's runs.
        blend: run_id of the blend run.
        upstream: job -> run_ids that the ranking builds on, `wmf` among them.
    """
    run = graph.succeeded("blend", blend)
    if run is None or graph.is_outdated("blend", blend):
        return f"blend run {blend} was built on a run that has run again since: run jobs/blend.py again"
    if "train" not in upstream:
        return f"blend run {blend} was built on train run {run.upstream['train'][0]}, whose predictions aren't ranked"
    for job in ("wmf", "train"):
        if run.upstream[job] != upstream[job]:
            return (
                f"blend run {blend} was built on {job} run {run.upstream[job][0]}, not {upstream[job][0]}: run "
                f"jobs/blend.py again, or set inputs.{job}_run_id"
            )
    return None


def outdated(graph: RunGraph, train: str, wmf: str) -> str | None:
    """Return which of the two runs rests on a run that has run again since; None if neither does."""
    for name, run_id in (("wmf", wmf), ("train", train)):
        if graph.is_outdated(name, run_id):
            return f"{name} run {run_id} was built on a run that has run again since: run jobs/{name}.py again"
    return None


def misfit(graph: RunGraph, train: str, wmf: str, spaces: Sequence[str]) -> str | None:
    """Return why the predictions of a train run can't meet a wmf run's user factors; None if they can.

    Args:
        graph: the lake's runs.
        train: run_id of the train run.
        wmf: run_id of the wmf run.
        spaces: the wmf runs in whose space the predictions lie.

    Raises:
        DataCheckError: a wmf run among them doesn't count (any more).
    """
    basis = graph.basis(wmf).run_id
    if all(graph.basis(space).run_id == basis for space in spaces):
        return None
    return (
        f"train run {train} predicts factors in the space of wmf run {' and '.join(spaces)}, not of {wmf}: "
        f"factors of two fits have no common basis; run jobs/train.py on wmf run {wmf}, or set inputs.wmf_run_id"
    )


def fitted_with(lake: Lake, graph: RunGraph, run_id: str) -> WmfSettings:
    """Return the `wmf` settings of the fit that a wmf run's factors come from: its own, or those of the run it extends.

    Unlike `RunGraph.basis`, this stops at a refit, which fits everything under its own settings.
    """
    while True:  # a loop, since runs that extend one another may be hundreds
        run = graph.succeeded("wmf", run_id)
        assert run is not None  # whoever builds on a run has chosen a succeeded one
        settings = WmfSettings.model_validate(ledger.whole(lake, run).settings["wmf"])
        if settings.mode != "fold_in":
            return settings
        run_id = str(run.upstream_run("wmf"))


def split_version(graph: RunGraph, wmf: str) -> int:
    """Return the version of interactions that a wmf run split into training and test plays.

    Raises:
        DataCheckError: it summed plays itself, so what it withheld can't be told from what came later.
    """
    run = graph.succeeded("wmf", wmf)
    version = None if run is None else run.tables_read.get("interactions")
    if version is None:
        raise DataCheckError(
            f"wmf run {wmf} summed plays itself (wmf.window_days, or a batch date before the newest plays): which "
            "plays it was kept from can't be found again; evaluate a run over all interactions"
        )
    return version
