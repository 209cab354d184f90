"""Define the model, its baselines and its bound, and their candidates under each protocol.

Aliases, and tracks that don't fulfil topn.candidates, are no candidates. Otherwise:

- none: candidates are the tracks with fitted factors (warm) and, with predicted factors, all other tracks (cold).
  Nothing is measured.
- strict: candidates are the warm tracks and the test tracks (cold: only their content is known), and on the slice
  catalogue also the tracks that nobody played, as they would be served. Validation tracks are no candidates. The
  written lists are those measured on the slice all.
  With evaluation.measured_split=validation, validation and test tracks change places.
- paper: candidates are the test tracks only, and nothing is excluded; WMF and popularity saw their plays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from etude.config.evaluation import EvaluationSettings
from etude.config.topn import TopnSettings
from etude.ranking.inputs import TrackFacts
from etude.ranking.neighbours import Neighbours
from etude.ranking.plan import NO_PART, PARTS, SLICES, Model, Plan, levels_of, random_tracks
from etude.search.candidates import Candidates, Ints, Longs
from etude.search.cap import Cap
from etude.vectors import Factors

HEAD_SHARE = 0.8
"""Share of the training plays that the head, the most played tracks, holds together."""


@dataclass(frozen=True)
class Known:
    """Hold the inputs of a plan.

    Attributes:
        fitted: factors of the tracks that WMF was fitted to (origin fit or fold_in).
        held_out: factors of withheld tracks, folded in for evaluation only.
        predicted: factors that content predicts, for any track; None without a train run.
        blended: blended factors of the tracks with training plays, and of all others; None without a blend run.
        facts: facts of every track.
        alone: what the network and the ridge regression predict for the test tracks, by their names.
        neighbours: models that rank warm tracks by the tracks that a user has heard, by their names.
        model: name of the network, for the table `metrics`.
        seed: its seed.
    """

    fitted: Factors
    held_out: Factors
    predicted: Factors | None
    facts: TrackFacts
    alone: Mapping[str, Factors] = field(default_factory=dict)
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)
    model: str = "model"
    seed: int = 0
    blended: tuple[Factors, Factors] | None = None


def make_plan(known: Known, topn: TopnSettings, evaluation: EvaluationSettings) -> Plan:
    """Return the candidates, models and slices for the protocol."""
    protocol = evaluation.protocol
    part_of = _parts(known, protocol, evaluation.measured_split)
    part_of[~known.facts.listable] = NO_PART
    final = _blended(known, part_of) if known.blended else _separate(known, part_of)
    others: tuple[Model, ...] = ()
    if protocol != "none":
        separate = _separate(known, part_of) if known.blended else final
        cold = {
            "same_artist": same_artist(known),
            **known.alone,
            "true_factors": known.fitted.union(known.held_out),
        }
        others = (
            *_content_free(known.facts, part_of, evaluation.seed),
            *_by_neighbours(known.neighbours, part_of),
            *_with_cold(separate, cold, part_of),
        )
        if known.blended:
            others = (*_ingredients(known, separate, part_of), *others)
    return Plan(
        final=final,
        fallback=_fallback(known.facts, part_of, protocol),
        n=topn.n,
        cold_shares=(topn.cold_share or 0.0, 1.0 if topn.most_cold_share is None else topn.most_cold_share),
        models=(final, *others) if others else (),
        cuts=tuple(sorted(set(evaluation.k))) if others else (),
        part_of=part_of,
        bits=-np.log2(np.maximum(known.facts.plays, 1) / max(known.facts.plays.sum(), 1)).astype(np.float32),
        level_of=levels_of(known.facts.listeners),
        repeats=(topn.repeats or 0) if protocol == "none" else 0,
        per_user=evaluation.per_user and bool(others),
        cap=None if topn.max_per_artist is None else Cap(known.facts.artist, topn.max_per_artist),
    )


def same_artist(known: Known) -> Factors:
    """Return for each held-out track the mean factors of its artist's training tracks.

    If the artist is unknown or has no training tracks, it is the mean of all training tracks.
    """
    facts, fitted = known.facts, known.fitted
    held_out = np.union1d(facts.of_split("validation"), facts.of_split("test"))
    training = fitted.among(np.setdiff1d(fitted.idx, held_out))
    if not len(training):
        return Factors(held_out, np.zeros((len(held_out), fitted.rank), np.float32))
    order = np.argsort(facts.artist[training.idx], kind="stable")
    artists, starts, counts = np.unique(facts.artist[training.idx][order], return_index=True, return_counts=True)
    rows = training.values[order].astype(np.float64)
    means = np.add.reduceat(rows, starts, axis=0) / counts[:, None]
    wanted = facts.artist[held_out]
    place = np.minimum(np.searchsorted(artists, wanted), len(artists) - 1)
    known_artist = (artists[place] == wanted) & (wanted != 0)
    return Factors(held_out, np.where(known_artist[:, None], means[place], rows.mean(axis=0)).astype(np.float32))


def head(plays: Longs, tracks: Ints) -> Ints:
    """Return the head of the tracks: most played first (ties: smaller index) until HEAD_SHARE is reached."""
    order = tracks[np.lexsort((tracks, -plays[tracks]))]
    before = np.cumsum(plays[order]) - plays[order]
    return order[before < HEAD_SHARE * plays[tracks].sum()]


def _parts(known: Known, protocol: str, split: str) -> np.ndarray:
    """Return the part of each track, a position in PARTS: (T,) uint8."""
    part_of = np.full(len(known.facts.plays), NO_PART, dtype=np.uint8)
    if protocol == "none":
        warm, cold = known.blended or (known.fitted, known.predicted)
        if cold is not None:
            part_of[cold.idx] = PARTS.index("cold")
        part_of[warm.idx] = PARTS.index("warm")
        return part_of
    if protocol == "strict":
        for served in (known.predicted, *(known.blended or ())):
            if served is not None:
                part_of[np.intersect1d(served.idx, known.facts.of_split(""))] = PARTS.index("unplayed")
        part_of[known.fitted.idx] = PARTS.index("tail")
        part_of[head(known.facts.plays, known.fitted.idx)] = PARTS.index("head")
    part_of[known.facts.of_split(split)] = PARTS.index("cold")
    return part_of


def _separate(known: Known, part_of: np.ndarray) -> Model:
    """Return the model with fitted factors for warm tracks, and predicted ones for all others."""
    factors = dict.fromkeys(("head", "tail", "warm"), known.fitted)
    slices = _measurable(part_of)
    if known.predicted is None:
        # Without a network the model can't score cold tracks, so it is not measured on them.
        alone = tuple(name for name in slices if name != "cold")
        return Model("wmf", "factors", _part_candidates(factors, part_of), alone)
    factors["cold"] = factors["unplayed"] = known.predicted
    return Model(known.model, "factors", _part_candidates(factors, part_of), slices, known.seed)


def _ingredients(known: Known, separate: Model, part_of: np.ndarray) -> tuple[Model, ...]:
    """Return what a blend is made of: fitted and predicted factors as separate ones, plays alone, content alone."""
    assert known.predicted is not None  # a blend run is built on a train run
    slices = _measurable(part_of)
    warm = {part: candidates for part, candidates in separate.parts.items() if part in SLICES["warm"]}
    content = _part_candidates(dict.fromkeys(PARTS, known.predicted), part_of)
    return (
        separate,
        Model("plays_only", "factors", warm, tuple(name for name in slices if name != "cold")),
        Model("content_only", "factors", content, slices, known.seed),
    )


def _blended(known: Known, part_of: np.ndarray) -> Model:
    """Return the model whose lists are written if there are blended factors: the same kind for all tracks."""
    assert known.blended is not None
    played, others = known.blended
    of_part = {**dict.fromkeys(SLICES["warm"], played), "cold": others, "unplayed": others}
    return Model("blend", "factors", _part_candidates(of_part, part_of), _measurable(part_of), known.seed)


def _content_free(facts: TrackFacts, part_of: np.ndarray, seed: int) -> tuple[Model, ...]:
    """Return baselines without personalisation, on every slice."""
    everything = np.arange(len(part_of), dtype=np.int32)
    random = Factors(everything, random_tracks(seed, everything))

    def parts(factors: Factors) -> dict[str, Candidates]:
        return _part_candidates(dict.fromkeys(PARTS, factors), part_of)

    slices = _measurable(part_of)
    return (
        Model("random", "random", parts(random), slices, seed),
        Model("popularity", "ones", parts(_popularity(facts.plays)), slices),
        Model("artist_popularity", "ones", parts(_popularity(_artist_plays(facts))), slices),
    )


def _by_neighbours(neighbours: Mapping[str, Neighbours], part_of: np.ndarray) -> tuple[Model, ...]:
    """Return baselines that rank warm tracks by what a user has heard."""
    slices = tuple(name for name in _measurable(part_of) if name != "cold")
    return tuple(
        Model(
            name,
            "heard",
            _part_candidates(dict.fromkeys(SLICES["warm"], Factors(each.tracks, each.similarity)), part_of),
            slices,
            of_tracks=each.tracks,
        )
        for name, each in neighbours.items()
    )


def _with_cold(model: Model, cold: dict[str, Factors], part_of: np.ndarray) -> tuple[Model, ...]:
    """Return the model with other factors for the test tracks, on the slices that hold them; it has no others."""
    warm = {part: candidates for part, candidates in model.parts.items() if part in SLICES["warm"]}
    measurable = _measurable(part_of)
    if "cold" not in measurable:
        return ()
    slices = tuple(name for name in measurable if "cold" in SLICES[name] and name != "catalogue")
    return tuple(
        Model(name, "factors", {**warm, **_part_candidates({"cold": factors}, part_of)}, slices)
        for name, factors in cold.items()
    )


def _measurable(part_of: np.ndarray) -> tuple[str, ...]:
    """Return the slices that have candidates."""
    there = {PARTS[number] for number in np.unique(part_of) if number != NO_PART}
    slices = tuple(name for name, parts in SLICES.items() if there & set(parts))
    return tuple(name for name in slices if name != "catalogue" or "unplayed" in there)


def _part_candidates(factors: dict[str, Factors], part_of: np.ndarray) -> dict[str, Candidates]:
    """Return the candidates of each part that has any."""
    found = {}
    for part, rows in factors.items():
        members = np.flatnonzero(part_of == PARTS.index(part))
        if len(members):
            found[part] = _candidates(rows, members)
    return found


def _candidates(factors: Factors, tracks: np.ndarray) -> Candidates:
    some = factors.among(tracks)
    return Candidates.of(some.idx, some.values)


def _popularity(plays: Longs) -> Factors:
    """Return each track's share of all plays, as factors of rank 1."""
    share = plays / max(plays.sum(), 1)
    return Factors(np.arange(len(plays), dtype=np.int32), share.astype(np.float32)[:, None])


def _artist_plays(facts: TrackFacts) -> Longs:
    """Return the plays of each track's artist; a track of unknown artist counts alone."""
    _, artist_of = np.unique(facts.artist, return_inverse=True)
    by_artist = np.bincount(artist_of, weights=facts.plays).astype(np.int64)
    return np.where(facts.artist == 0, facts.plays, by_artist[artist_of])


def _fallback(facts: TrackFacts, part_of: np.ndarray, protocol: str) -> Model:
    """Return popularity for users without factors: of warm tracks, or under paper of the test tracks."""
    popularity = _popularity(facts.plays)
    parts = _part_candidates(dict.fromkeys(PARTS, popularity), part_of)
    for part in () if protocol == "paper" else parts.keys() & {"cold", "unplayed"}:
        parts[part] = _candidates(popularity, np.empty(0, np.int32))  # popularity can't distinguish them
    return Model("popularity", "ones", parts, ())
