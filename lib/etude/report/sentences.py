"""Write the report's sentences; every claim is computed from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from etude.report.facts import Chain, Facts, Figures, Lists, Search
from etude.report.numbers import count, figure, percent, plural
from etude.report.palette import listed, look

PROTOCOLS = {
    "strict": "Plays of the held-out tracks were withheld from all training, including the factorisation. A cold track "
    "is known by its content only. Test data is read once, for these figures.",
    "paper": "As in the paper: the factorisation used every play, test tracks included, and candidates are the test "
    "tracks. Popularity uses the test plays too. The figures are optimistic.",
    "none": "Every play was used and nothing was held out, so no figure here measures quality.",
}


def cold_start(figures: Figures, k: int) -> list[str]:
    """Compare each model on cold tracks (under paper: test tracks) with the baselines and the bound."""
    said: list[str] = []
    tracks = "test" if figures.protocol == "paper" else "cold"
    for metric, at, name in (("recall", k, f"recall@{k}"), ("auc", 0, "AUC")):
        models = figures.models("topn", "cold", (metric,))
        values = {m: figures.value(m, "cold", metric, at) for m in models}
        known = {m: v for m, v in values.items() if v is not None}
        said += [_against_others(tracks, name, m, known) for m in listed(list(known))]
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
    """Return the position of a value between chance (0) and the bound (1); None if the bound isn't above chance."""
    if chance is None or bound is None or bound <= chance:
        return None
    return (value - chance) / (bound - chance)


def way(figures: Figures, slice_: str, metric: str, k: int) -> list[tuple[str, float, float]]:
    """Return (model, figure, share of the way from random to the true factors) of each model, best first."""
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
    """Compare the model's recall on cold and warm tracks, and report the cold tracks' share of the mixed list.

    Return None under paper, which has no mixed list.
    """
    if figures.protocol == "paper":
        return None
    for model in listed(figures.models("topn", "all", ("recall",))):
        parts = [
            f"{figure(value)} {where}"
            for slice_, where in (("warm", "among warm tracks"), ("cold", "among cold tracks"), ("all", "among all"))
            if (value := figures.value(model, slice_, "recall", k)) is not None
        ]
        text = f"Recall@{k} of {look(model).label} is {', '.join(parts)}"
        share = figures.value(model, "all", "cold_share", k)
        recall = figures.value(model, "all", "cold_recall", k)
        if share is not None:
            text += f". In the mixed list, cold tracks take {percent(share)} of the first {k} positions"
            text += f" (cold recall there {figure(recall)})" if recall is not None else ""
        return text + "."
    return None


def seeds(figures: Figures) -> str:
    """State the number of seeds behind the ranking's figures."""
    found = {row.seed for row in figures.rows if row.job == "topn" and look(row.model).kind == "model"}
    if len(found) < 2:
        return "One fit, one seed: no intervals."
    return f"Means over {len(found)} seeds of the network on one fit; no intervals."


def loss_fall(curve: Sequence[tuple[int, float]]) -> str | None:
    """State the fall of the factorisation's loss, in total and in the last iteration."""
    if len(curve) < 2:
        return None
    first, before, last = curve[0], curve[-2], curve[-1]
    fall, final = 1 - last[1] / first[1], 1 - last[1] / before[1]
    return (
        f"The loss over all cells, unplayed ones included, fell by {percent(fall)} from iteration {first[0]} to "
        f"{last[0]}. The last iteration reduced it by {percent(final)}."
    )


def best_epoch(validation: Sequence[tuple[int, float]]) -> str | None:
    """Name the epoch with the lowest validation loss."""
    if not validation:
        return None
    step, value = min(validation, key=lambda point: point[1])
    return (
        f"The validation loss was lowest after epoch {step} of {validation[-1][0]} ({figure(value)}). "
        "The weights of that epoch are used."
    )


def msle_left_out(figures: Figures) -> str | None:
    """State the share of the values that MSLE leaves out, because log(y + 1) isn't defined for them."""
    for slice_ in ("test", "validation"):
        for model in figures.models("train", slice_, ("msle_left_out",)):
            share = figures.value(model, slice_, "msle_left_out")
            if share is not None:
                return (
                    f"MSLE uses log(y + 1), which is undefined at y ≤ −1. It therefore leaves out {percent(share)} of "
                    f"the {slice_} values of {look(model).label}."
                )
    return None


def refused(facts: Facts) -> str:
    """State how much of the input was rejected."""
    ingest = [r for r in facts.listening.rejects if r.job == "ingest"]
    of_catalogues = sum(r.rows for r in ingest if r.source not in facts.listening.sources)
    rejects = [r for r in ingest if r.source in facts.listening.sources]
    total = sum(r.rows for r in rejects)
    others = f" Also rejected: {plural(of_catalogues, 'catalogue row')}." if of_catalogues else ""
    if not total:
        return f"No record of the log was rejected.{others}"
    reasons: dict[str, int] = {}
    for row in rejects:
        reasons[row.reason] = reasons.get(row.reason, 0) + row.rows
    most = max(reasons, key=lambda reason: reasons[reason])
    whole = total + facts.listening.rows
    return (
        f"Rejected: {count(total)} of {plural(whole, 'record')} ({percent(total / whole)}), for "
        f"{plural(len(reasons), 'reason')}; most often {most} ({count(reasons[most])}).{others}"
    )


def density(facts: Facts) -> str | None:
    """State the density of the matrix of users and tracks."""
    found = facts.listening
    cells = found.interacting_users * found.interacting_tracks
    if not cells:
        return None
    return (
        f"{count(found.interactions)} interactions fill {percent(found.interactions / cells)} of the matrix of "
        f"{count(found.interacting_users)} users and {count(found.interacting_tracks)} tracks."
    )


def lists(found: Lists) -> str:
    """State the composition of the production lists."""
    names = {
        "warm": "warm",
        "light": "light (1 to 3 listeners)",
        "cold": "cold",
        "popularity": "filled by popularity (users without factors)",
    }
    parts = [
        f"{percent(found.by_source[s] / found.rows)} {name}" for s, name in names.items() if found.by_source.get(s)
    ]
    return (
        f"{plural(found.users, 'user')} have lists with {count(found.rows)} positions in total: {', '.join(parts)}. "
        f"{plural(found.distinct_tracks, 'track')} appear in at least one."
    )


def total_seconds(chain: Chain) -> float:
    """Return the wall time of all runs of a chain (s)."""
    return sum(run.seconds or 0.0 for run in chain.values())


def search(found: Search) -> str:
    """Say what a search of settings found, beside the settings as given."""
    best, given = found.best(), found.given()
    name = {"ndcg": "NDCG", "recall": "Recall", "map": "MAP"}[found.metric]
    said = (
        f"Run {found.run_id} made {len(found.trials)} trials. Best: {name}@{found.k} {figure(best.value)} with rank "
        f"{best.rank}, {best.confidence} confidence, alpha {best.alpha:g} and regularization {best.regularization:g}"
    )
    return said + (f"; with the settings as given {figure(given.value)}." if given else ".")
