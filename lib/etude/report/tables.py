"""The report's tables of metrics: which columns stand where, and which figure is the best of its column."""

from __future__ import annotations

from dataclasses import dataclass

from etude.report.facts import Figures
from etude.report.numbers import count, figure, percent
from etude.report.palette import Look, look, ordered


@dataclass(frozen=True)
class Column:
    """One metric in a table: `at_k` for those that depend on the list's length, `best` is which end is good."""

    metric: str
    label: str
    at_k: bool = True
    best: str = "high"
    share: bool = False


@dataclass(frozen=True)
class Cell:
    """One figure as text, and whether it is the best of its column (the bound left out)."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One model's figures."""

    look: Look
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Models by metrics on one slice."""

    slice: str
    k: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    users: str | None = None


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
    Column("cold_recall", "cold recall"),
)
_COLUMNS = {
    "cold": (*_RANKING, _AUC),
    "warm": (*_RANKING, *_BREADTH),
    "all": (*_RANKING[:4], *_BREADTH, *_MIXED),
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
    """The measured list length closest to the one wanted; 0 where none was measured."""
    return min(figures.cuts(), key=lambda k: (abs(k - wanted), k), default=0)


def ranking(figures: Figures, slice_: str, k: int) -> Table | None:
    """Every model on one slice at one k, or None where nothing was measured there."""
    columns = _COLUMNS[slice_]
    models = figures.models("topn", slice_, [column.metric for column in columns])
    return _table(figures, slice_, k, columns, models)


def errors(figures: Figures, slice_: str) -> Table | None:
    """Errors of predicted factors on one slice (validation, test), or None."""
    metrics = [column.metric for column in _ERRORS]
    models = [m for job in ("train", "topn") for m in figures.models(job, slice_, metrics)]
    return _table(figures, slice_, 0, _ERRORS, list(dict.fromkeys(models)))


def measured(figures: Figures, model: str, slice_: str, column: Column, k: int) -> float | None:
    """The figure at k, or the one without a k where only that was measured."""
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
    return Table(slice_, k, tuple(columns[i].label for i in kept), rows, _users(figures, slice_, k, models))


def _best(column: Column, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if column.best == "none" or len(known) < 2:
        return None
    return max(known) if column.best == "high" else min(known)


def _cell(column: Column, value: float | None, best: bool) -> Cell:
    return Cell(percent(value) if column.share else figure(value), best and value is not None)


def _users(figures: Figures, slice_: str, k: int, models: list[str]) -> str | None:
    """Over how many users the means are taken."""
    for model in models:
        value = figures.value(model, slice_, "users", k)
        value = figures.value(model, slice_, "users") if value is None else value
        if value is not None:
            return count(value)
    return None
