"""What the report says in words: every claim is computed from the figures it speaks of."""

from __future__ import annotations

from collections.abc import Sequence

from etude.report.facts import Chain, Facts, Figures, Lists
from etude.report.numbers import count, figure, percent, plural
from etude.report.palette import look

PROTOCOLS = {
    "strict": "Plays of the held-out tracks were withheld from everything, the factorisation included: of a cold track "
    "only its content is known. Test data is read once, for these figures.",
    "paper": "As in the paper: the factorisation saw every play, test tracks included, and candidates are the test "
    "tracks. Popularity sees the test plays too. Kinder than reality.",
    "none": "Every play was used, nothing was held out, so nothing here is a measure of quality.",
}


def cold_start(figures: Figures, k: int) -> list[str]:
    """How the model does on tracks nobody has played (under paper: test tracks), against baselines and the bound."""
    said: list[str] = []
    tracks = "test" if figures.protocol == "paper" else "cold"
    for metric, at, name in (("recall", k, f"recall@{k}"), ("auc", 0, "AUC")):
        models = figures.models("topn", "cold", (metric,))
        values = {m: figures.value(m, "cold", metric, at) for m in models}
        known = {m: v for m, v in values.items() if v is not None}
        said += [_against_others(tracks, name, m, known) for m in known if look(m).kind == "model"]
    return said


def _against_others(tracks: str, name: str, model: str, values: dict[str, float]) -> str:
    mine = values[model]
    rivals = {m: v for m, v in values.items() if look(m).kind == "baseline"}
    text = f"On {tracks} tracks {look(model).label} reaches {name} {figure(mine)}"
    if rivals:
        best = max(rivals, key=lambda m: rivals[m])
        order = "ahead of" if mine > rivals[best] else "level with" if mine == rivals[best] else "behind"
        text += f", {order} the best baseline, {look(best).label} ({figure(rivals[best])})"
    share = share_of_way(mine, values.get("random"), values.get("true_factors"))
    if share is not None:
        text += (
            f". Between random ({figure(values['random'])}) and the true factors ({figure(values['true_factors'])}) "
            f"that is {percent(share)} of the way"
        )
    return text + "."


def share_of_way(value: float, chance: float | None, bound: float | None) -> float | None:
    """Where a value lies between chance (0) and the bound (1); None where there is no such way."""
    if chance is None or bound is None or bound <= chance:
        return None
    return (value - chance) / (bound - chance)


def way(figures: Figures, slice_: str, metric: str, k: int) -> list[tuple[str, float, float]]:
    """(model, figure, share of the way from random to the true factors) of each model, best first."""
    values = {m: figures.value(m, slice_, metric, k) for m in figures.models("topn", slice_, (metric,))}
    shares = [
        (m, v, share)
        for m, v in values.items()
        if v is not None
        and m not in ("random", "oracle_refit")
        and (share := share_of_way(v, values.get("random"), values.get("true_factors"))) is not None
    ]
    return sorted(shares, key=lambda item: -item[2])


def cold_against_warm(figures: Figures, k: int) -> str | None:
    """The model's recall on cold and on warm tracks, and what of the cold ones surfaces in the mixed list.

    Nothing under paper, where no list is mixed.
    """
    if figures.protocol == "paper":
        return None
    for model in figures.models("topn", "all", ("recall",)):
        if look(model).kind != "model":
            continue
        parts = [
            f"{figure(value)} {where}"
            for slice_, where in (("warm", "among warm tracks"), ("cold", "among cold tracks"), ("all", "among all"))
            if (value := figures.value(model, slice_, "recall", k)) is not None
        ]
        text = f"Recall@{k} of {look(model).label} is {', '.join(parts)}"
        share = figures.value(model, "all", "cold_share", k)
        recall = figures.value(model, "all", "cold_recall", k)
        if share is not None:
            text += f". In the mixed list {percent(share)} of the first {k} places go to cold tracks"
            text += f" (cold recall there {figure(recall)})" if recall is not None else ""
        return text + "."
    return None


def seeds(figures: Figures) -> str:
    """What the ranking's figures say of chance."""
    found = {row.seed for row in figures.rows if row.job == "topn" and look(row.model).kind == "model"}
    if len(found) < 2:
        return "One fit, one seed: no intervals."
    return f"Means over {len(found)} seeds of the network on one fit; no intervals."


def loss_fall(curve: Sequence[tuple[int, float]]) -> str | None:
    """How far the factorisation's loss fell, and how much of that came last."""
    if len(curve) < 2:
        return None
    first, before, last = curve[0], curve[-2], curve[-1]
    fall, final = 1 - last[1] / first[1], 1 - last[1] / before[1]
    return (
        f"The loss over all cells, unplayed ones included, fell by {percent(fall)} from iteration {first[0]} to "
        f"{last[0]}; the last iteration took {percent(final)} off."
    )


def best_epoch(validation: Sequence[tuple[int, float]]) -> str | None:
    """After which epoch the validation loss was least."""
    if not validation:
        return None
    step, value = min(validation, key=lambda point: point[1])
    return (
        f"Validation loss was least after epoch {step} of {validation[-1][0]} ({figure(value)}); "
        "the weights of that epoch are used."
    )


def msle_left_out(figures: Figures) -> str | None:
    """What share of the values MSLE leaves out, because log(y + 1) isn't defined there."""
    for slice_ in ("test", "validation"):
        for model in figures.models("train", slice_, ("msle_left_out",)):
            share = figures.value(model, slice_, "msle_left_out")
            if share is not None:
                return (
                    f"MSLE takes log(y + 1), which has no value at y ≤ −1: {percent(share)} of the {slice_} values of "
                    f"{look(model).label} are left out of it for that."
                )
    return None


def refused(facts: Facts) -> str:
    """How much of the input was refused."""
    ingest = [r for r in facts.listening.rejects if r.job == "ingest"]
    of_catalogues = sum(r.rows for r in ingest if r.source not in facts.listening.sources)
    rejects = [r for r in ingest if r.source in facts.listening.sources]
    total = sum(r.rows for r in rejects)
    others = f" {plural(of_catalogues, 'catalogue row')} refused too." if of_catalogues else ""
    if not total:
        return f"Nothing of the log was refused.{others}"
    reasons: dict[str, int] = {}
    for row in rejects:
        reasons[row.reason] = reasons.get(row.reason, 0) + row.rows
    most = max(reasons, key=lambda reason: reasons[reason])
    whole = total + facts.listening.rows
    return (
        f"{plural(total, 'record')} of {count(whole)} ({percent(total / whole)}) refused, for "
        f"{plural(len(reasons), 'reason')}; most often {most} ({count(reasons[most])}).{others}"
    )


def density(facts: Facts) -> str | None:
    """How full the matrix of users and tracks is."""
    found = facts.listening
    cells = found.interacting_users * found.interacting_tracks
    if not cells:
        return None
    return (
        f"{count(found.interactions)} interactions fill {percent(found.interactions / cells)} of the matrix of "
        f"{count(found.interacting_users)} users and {count(found.interacting_tracks)} tracks."
    )


def lists(found: Lists) -> str:
    """What the production lists are made of."""
    names = {"warm": "warm", "cold": "cold", "popularity": "filled by popularity (users without factors)"}
    parts = [
        f"{percent(found.by_source[s] / found.rows)} {name}" for s, name in names.items() if found.by_source.get(s)
    ]
    return (
        f"{plural(found.users, 'user')} have lists, {count(found.rows)} places in all: {', '.join(parts)}. "
        f"{plural(found.distinct_tracks, 'track')} appear in at least one."
    )


def total_seconds(chain: Chain) -> float:
    """Wall time of all runs of a chain."""
    return sum(run.seconds or 0.0 for run in chain.values())
