"""Compare what the paper says of its networks with what was measured; each answer is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from etude.comparison.bootstrap import ERRORS, Figures
from etude.comparison.curves import Curve

_SIGNIFICANT = 0.05
_SOUND = ("autoencoder", "cnn", "cnn_lstm")
_PAPERS = (*_SOUND, "embeddings", "fusion")


@dataclass(frozen=True)
class Order:
    """Say that one network's figure is lower than another's."""

    lower: str
    higher: str
    figure: str


@dataclass(frozen=True)
class Claim:
    """Hold a sentence of the paper as inequalities that all have to hold."""

    sentence: str
    orders: tuple[Order, ...]


@dataclass(frozen=True)
class Answer:
    """Hold what was found: `holds`, `doesn't hold` or `undecided`, and the reason in words."""

    sentence: str
    found: str
    reason: str


def claims(k: int) -> tuple[Claim, ...]:
    """Return the paper's sentences on Table 1 and Figure 2; k is the length of list at which lists are compared."""
    lists = tuple(f"{name}@{k}" for name in ("precision", "recall", "f1"))
    others = tuple(name for name in _PAPERS if name != "fusion")
    return (
        Claim(
            "The autoencoder has the largest errors.",
            tuple(
                Order(each, "autoencoder", error) for error, each in product(ERRORS, _PAPERS) if each != "autoencoder"
            ),
        ),
        Claim("An LSTM after the CNN lessens the errors.", tuple(Order("cnn_lstm", "cnn", error) for error in ERRORS)),
        Claim(
            "Embeddings alone have larger errors than a CNN alone.",
            tuple(Order("cnn", "embeddings", error) for error in ERRORS),
        ),
        Claim(
            "Fusion has the least errors.",
            tuple(Order("fusion", each, error) for error, each in product(ERRORS, others)),
        ),
        Claim(
            f"Fusion has the best precision, recall and F1 (here at {k}).",
            tuple(Order(each, "fusion", name) for name, each in product(lists, others)),
        ),
    )


def answer(claim: Claim, figures: Figures) -> Answer:
    """Return whether a claim holds, by paired differences at p < .05.

    It holds if every inequality does, significantly. It doesn't if one is significantly the other way round. A figure
    that isn't defined decides nothing.
    """
    found = [(each, figures.difference(each.higher, each.lower, each.figure)) for each in claim.orders]
    against = [(each, d) for each, d in found if d.value < 0 and d.p < _SIGNIFICANT]
    open_ = [(each, d) for each, d in found if not d.p < _SIGNIFICANT]  # p is NaN if no track is common to all networks
    if against:
        return Answer(claim.sentence, "doesn't hold", _reasons(against))
    if open_:
        return Answer(claim.sentence, "undecided", _reasons(open_))
    return Answer(claim.sentence, "holds", f"{len(found)} of {len(found)} inequalities, p < {_SIGNIFICANT:g}")


def _reasons(found: Iterable[tuple[Order, object]]) -> str:
    pairs: dict[tuple[str, str], list[str]] = {}
    for order, _ in found:
        pairs.setdefault((order.higher, order.lower), []).append(order.figure)
    return "; ".join(f"{higher} against {lower} in {', '.join(names)}" for (higher, lower), names in pairs.items())


def answers(figures: Figures, k: int) -> list[Answer]:
    """Return the answers to the sentences whose networks were all measured; k is the length of list."""
    measured = set(figures.networks)
    said = [each for each in claims(k) if {name for o in each.orders for name in (o.lower, o.higher)} <= measured]
    order = [same_order(figures, k)] if set(_PAPERS) <= measured else []
    return [*(answer(each, figures) for each in said), *order]


def same_order(figures: Figures, k: int) -> Answer:
    """Return whether the networks have the same order by error as by recall."""
    errors = [figures.interval(name, "mse").value for name in _PAPERS]
    recalls = [-figures.interval(name, f"recall@{k}").value for name in _PAPERS]
    sentence = "Networks with smaller errors make better lists, in the same order."
    if not np.isfinite([*errors, *recalls]).all():
        return Answer(sentence, "undecided", "not every figure is defined")
    places = range(len(_PAPERS))
    pairs = [(a, b) for a in places for b in places if a < b]
    agree = sum((errors[a] < errors[b]) == (recalls[a] < recalls[b]) for a, b in pairs)
    found = "holds" if agree == len(pairs) else "doesn't hold"
    return Answer(sentence, found, f"{agree} of {len(pairs)} pairs have the same order by MSE and by recall@{k}")


def rate_answers(curves: Mapping[str, Curve], k: int) -> list[Answer]:
    """Return the answers to what the paper says of learning rates (Figure 3), by means over seeds.

    Sentences on rates that weren't trained are left out.

    Args:
        curves: learning rate -> its curve.
        k: the length of list of the curves' recall.
    """
    trained = {rate: curve for rate, curve in curves.items() if not curve.diverged}
    if len(curves) < 2 or not trained:
        return []
    least = {rate: min(curve.validation) for rate, curve in trained.items()}
    last_training = {rate: curve.training[-1] for rate, curve in trained.items()}
    recall = {rate: max(curve.recall) for rate, curve in trained.items()}
    best, listed = min(least, key=lambda rate: least[rate]), max(recall, key=lambda rate: recall[rate])
    slowest = max(last_training, key=lambda rate: last_training[rate])
    accuracy = f"here recall@{k} on validation tracks"
    answers = []
    for rate, sentence, found, reason in (
        ("0.001", "A learning rate of 0.001 has the least validation loss.", best, "has it"),
        ("0.001", f"A learning rate of 0.001 has the best validation accuracy ({accuracy}).", listed, "has it"),
        (
            *("0.0001", "With 0.0001, training loss falls slowly: underfitting."),
            *(slowest, "has the largest training loss at the end"),
        ),
    ):
        if rate in trained:
            answers.append(Answer(sentence, _holds(found == rate), f"{found} {reason}"))
        elif rate in curves:
            answers.append(Answer(sentence, "doesn't hold", _diverged(curves[rate])))
    if "0.1" in curves:
        answers.append(_overfits(curves["0.1"], trained))
    return answers


def _overfits(curve: Curve, trained: Mapping[str, Curve]) -> Answer:
    sentence = "With 0.1, training loss falls quickly and validation loss is high: overfitting."
    if curve.diverged:
        return Answer(sentence, "doesn't hold", _diverged(curve))
    quick = curve.training[-1] <= min(each.training[-1] for each in trained.values())
    return Answer(
        sentence,
        _holds(quick and curve.validation[-1] > min(curve.validation)),
        f"training loss ends at {curve.training[-1]:.3f}, validation loss at {curve.validation[-1]:.3f}",
    )


def _diverged(curve: Curve) -> str:
    return f"the loss stops being finite in {curve.diverged} of {curve.seeds} runs"


def _holds(true: bool) -> str:
    return "holds" if true else "doesn't hold"
