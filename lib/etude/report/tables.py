"""Build the report's tables of metrics: the columns of each slice, and the best figure of each column."""

from __future__ import annotations

from dataclasses import dataclass

from etude.report.facts import Figures
from etude.report.numbers import count, figure, percent
from etude.report.palette import Look, look, ordered


@dataclass(frozen=True)
class Column:
    """Describe one metric of a table: `at_k` if it depends on the list's length, `best` names the good end."""

    metric: str
    label: str
    at_k: bool = True
    best: str = "high"
    share: bool = False


@dataclass(frozen=True)
class Cell:
    """Hold one figure as text, and whether it is the best of its column (without the bound)."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """Hold one model's figures."""

    look: Look
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Hold models by metrics on one slice."""

    slice: str
    k: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    scope: str = ""
    """Number of users in the means, and number of candidates."""


_RANKING = (
    Column("recall", "recall"),
    Column("precision", "precision"),
    Column("f1", "F1"),
    Column("ndcg", "NDCG"),
    Column("map", "MAP"),
    Column("mrr", "MRR"),
    Column("hit_rate", "hit rate"),
)
_AUC = Column("auc", "AUC", at_k=False)
_BREADTH = (
    Column("coverage", "coverage", best="none", share=True),
    Column("novelty", "novelty, bit", best="none"),
)
_MIXED = (
    Column("cold_share", "cold share", best="none", share=True),
    Column("light_share", "light share", best="none", share=True),
    Column("cold_recall", "cold recall"),
)
_COLUMNS = {
    "cold": (*_RANKING, _AUC),
    "warm": (*_RANKING, *_BREADTH),
    "all": (*_RANKING[:4], *_BREADTH, *_MIXED),
    "catalogue": (*_RANKING[:4], *_BREADTH, *_MIXED),
    "head": (*_RANKING, *_BREADTH),
    "tail": (*_RANKING, *_BREADTH),
}
_ERRORS = (
    Column("mse", "MSE", best="low"),
    Column("rmse", "RMSE", best="low"),
    Column("mae", "MAE", best="low"),
    Column("msle", "MSLE", best="low"),
    Column("msle_left_out", "left out of MSLE", best="none", share=True),
)


def nearest_k(figures: Figures, wanted: int) -> int:
    """Return the measured list length closest to `wanted`; 0 if none was measured."""
    return min(figures.cuts(), key=lambda k: (abs(k - wanted), k), default=0)


def ranking(figures: Figures, slice_: str, k: int) -> Table | None:
    """Return every model on one slice at one k, or None if nothing was measured there."""
    columns = _COLUMNS[slice_]
    models = figures.models("topn", slice_, [column.metric for column in columns])
    return _table(figures, slice_, k, columns, models)


def errors(figures: Figures, slice_: str) -> Table | None:
    """Return the errors of predicted factors on one slice (validation, test), or None if none was measured."""
    metrics = [column.metric for column in _ERRORS]
    models = [m for job in ("train", "topn") for m in figures.models(job, slice_, metrics)]
    return _table(figures, slice_, 0, _ERRORS, list(dict.fromkeys(models)))


def measured(figures: Figures, model: str, slice_: str, column: Column, k: int) -> float | None:
    """Return the figure at k, or the figure without a k if only that was measured."""
    value = figures.value(model, slice_, column.metric, k) if column.at_k else None
    return figures.value(model, slice_, column.metric) if value is None else value


def _table(figures: Figures, slice_: str, k: int, columns: tuple[Column, ...], models: list[str]) -> Table | None:
    values = {m: [measured(figures, m, slice_, column, k) for column in columns] for m in models}
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in values.values())]
    if not kept:
        return None
    best = {i: _best(columns[i], [values[m][i] for m in models if look(m).kind != "bound"]) for i in kept}
    rows = tuple(
        Row(
            look(m),
            tuple(_cell(columns[i], values[m][i], look(m).kind != "bound" and values[m][i] == best[i]) for i in kept),
        )
        for m in ordered(models)
    )
    return Table(slice_, k, tuple(columns[i].label for i in kept), rows, _scope(figures, slice_, models))


def _best(column: Column, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if column.best == "none" or len(known) < 2:
        return None
    return max(known) if column.best == "high" else min(known)


def _cell(column: Column, value: float | None, best: bool) -> Cell:
    return Cell(percent(value) if column.share else figure(value), best and value is not None)


def _scope(figures: Figures, slice_: str, models: list[str]) -> str:
    """Return the number of users in the means and of candidates, as far as they were measured."""

    def first(metric: str) -> float | None:
        return next((v for m in models if (v := figures.value(m, slice_, metric)) is not None), None)

    users, left_out, candidates = first("users"), first("users_left_out"), first("candidates")
    parts = [f"mean over {count(users)} users"] if users is not None else []
    if users is not None and left_out:
        parts.append(f"{count(left_out)} users without a held-out track here are left out")
    if candidates is not None:
        parts.append(f"{count(candidates)} candidates")
    return "; ".join(parts)
