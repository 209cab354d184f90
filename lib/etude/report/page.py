"""Render facts as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from etude.config.non_defaults import non_defaults
from etude.lake.runs import Run
from etude.report import charts, numbers, sentences, tables
from etude.report.facts import Chain, Facts, Figures, Mel, Rejected, Search
from etude.report.palette import look, ordered
from etude.report.staff import staff

_SLICES = {
    "cold": ("Cold tracks only", "Candidates are the tracks that were not in the factorisation."),
    "warm": ("Warm tracks only", "Candidates are the tracks with training plays."),
    "all": ("Mixed list", "Candidates are all tracks with plays, warm and cold (held out) ones."),
    "catalogue": ("Whole catalogue", "As in a published list, candidates are also the tracks that nobody played."),
    "head": ("Head", "Candidates are the most played tracks, which hold 80% of the training plays."),
    "tail": ("Tail", "Candidates are the tracks outside the head."),
}
# Under paper every track is in the factorisation, and only the test tracks are candidates.
_PAPER_SLICES = {
    "cold": ("Test tracks", "Candidates are the test tracks, new to the network but not to the factorisation."),
    "all": ("All candidates", "Candidates are the test tracks here too: this protocol ranks no other tracks."),
}


@dataclass(frozen=True)
class Bar:
    """Describe one line of a bar list; `width` is a percentage of the longest bar."""

    label: str
    detail: str
    text: str
    width: float
    kind: str = ""


@dataclass(frozen=True)
class Stage:
    """Hold the timings of one chain of runs."""

    name: str
    protocol: str
    total: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Picture:
    """Hold an inline SVG and its caption."""

    svg: Markup
    caption: str


def render(facts: Facts) -> str:
    """Render the page as HTML text; it needs no network, no script and no other file."""
    environment = Environment(
        loader=PackageLoader("etude.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count, figure=numbers.figure, percent=numbers.percent, seconds=numbers.seconds, day=numbers.day
    )
    return environment.get_template("report.html.j2").render(**context(facts))


def context(facts: Facts) -> dict[str, Any]:
    """Return the template's variables, section by section."""
    figures = facts.evaluation_figures
    k = tables.nearest_k(figures, facts.k)
    return {
        "facts": facts,
        "figures": figures,
        "k": k,
        "empty_staff": Markup(staff(())),
        "protocol_text": sentences.PROTOCOLS,
        "claims": _claims(facts, figures, k),
        "cold_name": "Test tracks" if figures.protocol == "paper" else "Cold tracks",
        "measured_by": _measured_by(facts.evaluation),
        "seeds": sentences.seeds(figures),
        "refused": sentences.refused(facts),
        "density": sentences.density(facts),
        "rejects": {job: _reject_bars(facts, job) for job in ("ingest", "mel")},
        "ways": [w for metric, at in (("recall", k), ("auc", 0)) if (w := _way(figures, metric, at))],
        "loss": _loss(facts),
        "search": _search(facts.search),
        "training": _training(figures),
        "errors": [t for s in ("test", "validation") if (t := tables.errors(figures, s)) is not None],
        "msle": sentences.msle_left_out(figures),
        "rankings": [_ranking(figures, slice_, k) for slice_ in _SLICES if tables.ranking(figures, slice_, k)],
        "warming": _warming(figures),
        "mels": [_mel(mel) for mel in facts.mels],
        "lists": sentences.lists(facts.lists) if facts.lists and facts.lists.rows else None,
        "stages": _stages(facts),
        "chains": [(name, chain) for name, chain in _chains(facts) if chain],
        "differing": _differing(facts),
    }


def _measured_by(chain: Chain) -> str:
    """Return a warning if the lists were measured by validation plays; empty otherwise."""
    settings = chain["topn"].settings.get("evaluation", {}) if "topn" in chain else {}
    if settings.get("measured_split") != "validation":
        return ""
    return "Measured by validation plays, to choose settings by: these figures are no result."


def _chains(facts: Facts) -> tuple[tuple[str, Chain], ...]:
    return ("Evaluation", facts.evaluation), ("Production", facts.production)


def _claims(facts: Facts, figures: Figures, k: int) -> list[tuple[str, str]]:
    """Return the claims at the top of the page, each with its protocol if it has one; all of them were measured."""
    warm = sentences.cold_against_warm(figures, k)
    measured = [*sentences.cold_start(figures, k), *([warm] if warm else [])]
    return [*((said, figures.protocol) for said in measured), (sentences.refused(facts), "")]


def _way(figures: Figures, metric: str, k: int) -> dict[str, Any] | None:
    """Return the models between random and the bound on cold tracks, as bars."""
    shares = sentences.way(figures, "cold", metric, k)
    if not shares:
        return None
    name = {"recall": f"Recall@{k}", "auc": "AUC"}[metric]
    ends = (figures.value("random", "cold", metric, k), figures.value("true_factors", "cold", metric, k))
    return {
        "name": name,
        "text": f"from random, {numbers.figure(ends[0])}, to the true factors, {numbers.figure(ends[1])}",
        "bars": [
            Bar(look(m).label, "", numbers.percent(share), 100 * min(1.0, max(0.0, share)), look(m).kind)
            for m, _, share in shares
        ],
    }


def _reject_bars(facts: Facts, job: str) -> list[Bar]:
    rows = [row for row in facts.listening.rejects if row.job == job]
    most = max((row.rows for row in rows), default=0)
    return [Bar(row.reason, _reject_detail(row), numbers.count(row.rows), 100 * row.rows / most) for row in rows]


def _reject_detail(row: Rejected) -> str:
    return f"such as {row.example}" if row.example else row.source


def _loss(facts: Facts) -> dict[str, Any] | None:
    for name, chain, figures in (
        ("evaluation", facts.evaluation, facts.evaluation_figures),
        ("production", facts.production, facts.production_figures),
    ):
        curve = figures.curve("wmf", "train", "loss")
        if curve:
            svg = charts.curves([("loss", curve)], "iteration", "loss over all cells")
            return {
                "staff": Markup(staff(curve)),
                "picture": Markup(svg),
                "text": sentences.loss_fall(curve),
                "protocol": figures.protocol,
                "run": chain["wmf"],
                "of": name,
            }
    return None


def _search(search: Search | None) -> Picture | None:
    return None if search is None else Picture(Markup(charts.trials(search)), sentences.search(search))


def _training(figures: Figures) -> dict[str, Any] | None:
    train, validation = (figures.curve("train", slice_, "loss") for slice_ in ("train", "validation"))
    lines = [(name, points) for name, points in (("training", train), ("validation", validation)) if points]
    if not lines:
        return None
    svg = charts.curves(lines, "epoch", "loss", mark_least=bool(validation))
    return {"picture": Markup(svg), "text": sentences.best_epoch(validation)}


def _ranking(figures: Figures, slice_: str, k: int) -> dict[str, Any]:
    names = {**_SLICES, **_PAPER_SLICES} if figures.protocol == "paper" else _SLICES
    title, text = names[slice_]
    pictures = []
    for metric in ("recall", "ndcg"):
        models = ordered(figures.models("topn", slice_, (metric,)))
        lines = [(look(model), points) for model in models if len(points := figures.over_k(model, slice_, metric)) > 1]
        if lines and slice_ in ("cold", "warm", "all"):
            label = {"recall": "recall@k", "ndcg": "NDCG@k"}[metric]
            pictures.append(Markup(charts.over_k(lines, label, label)))
    return {
        "slice": slice_,
        "title": title,
        "folded": slice_ in ("head", "tail"),
        "text": text,
        "table": tables.ranking(figures, slice_, k),
        "pictures": pictures,
    }


_WARMING = {"0": "none", "1": "1", "2_3": "2-3", "4_7": "4-7", "8_15": "8-15", "16": "16 and more"}


def _warming(figures: Figures) -> dict[str, Any] | None:
    """Return the warming curve: how many held-out plays the lists find, by the listeners of their tracks.

    It is drawn if there is a blend, whose parts stand beside it: plays only and content only.
    """
    k = max(figures.cuts(), default=0)
    slice_ = "catalogue" if figures.value("blend", "catalogue", "recall", k) is not None else "all"
    found = {
        model: {level: figures.value(model, slice_, f"found_{level}", k) for level in _WARMING}
        for model in ("blend", "plays_only", "content_only")
    }
    measured = [level for level in _WARMING if found["blend"][level] is not None]
    lines = [
        (look(model), [(place, value) for place, level in enumerate(measured) if (value := of[level]) is not None])
        for model, of in found.items()
    ]
    if len(measured) < 2:
        return None
    title = f"share of held-out plays found among the first {k}"
    return {"picture": Markup(charts.by_listeners(lines, [_WARMING[level] for level in measured], title)), "k": k}


def _mel(mel: Mel) -> Picture:
    name = mel.title or mel.track_id
    by = f" by {mel.artist_name}" if mel.artist_name else ""
    return Picture(
        Markup(charts.mel_picture(mel)),
        f"{name}{by}: from {mel.offset_s:.1f} s, {mel.db.shape[0]} filters × {mel.db.shape[1]} frames "
        f"at {mel.sample_rate:,} Hz",
    )


def _stages(facts: Facts) -> list[Stage]:
    """Return the timings of each chain; a run that both chains share (ingest, mel) is listed with the first."""
    chains = [(name, chain) for name, chain in _chains(facts) if chain]
    longest = max((run.seconds or 0 for _, chain in chains for run in chain.values()), default=0) or 1
    seen: set[tuple[str, str]] = set()
    stages = []
    for name, chain in chains:
        own = {job: run for job, run in chain.items() if (job, run.run_id) not in seen}
        seen |= {(job, run.run_id) for job, run in own.items()}
        shared = [job for job in chain if job not in own]
        total = numbers.seconds(sentences.total_seconds(own))
        stages.append(
            Stage(
                name,
                list(chain.values())[-1].protocol,
                f"{total} in all" + (f", {' and '.join(shared)} as above" if shared else ""),
                tuple(
                    Bar(job, _rows(run), numbers.seconds(run.seconds), 100 * (run.seconds or 0) / longest)
                    for job, run in own.items()
                ),
            )
        )
    return stages


def _rows(run: Run) -> str:
    """Return a run's row counts in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {numbers.count(n)}" for name, n in run.row_counts.items())


def _differing(facts: Facts) -> list[tuple[str, str, list[str]]]:
    """Return (key, default, value per chain) of the settings that differ from the default in some chain."""
    chains = [chain for _, chain in _chains(facts) if chain]
    last = [{key: (value, default) for key, value, default in _of_last(chain)} for chain in chains]
    keys = list(dict.fromkeys(key for found in last for key in found))
    rows = []
    for key in keys:
        default = next(found[key][1] for found in last if key in found)
        values = [_setting(found[key][0] if key in found else default) for found in last]
        rows.append((key, _setting(default), values))
    return rows


def _of_last(chain: Chain) -> list[tuple[str, Any, Any]]:
    """Return the settings that differ from the defaults, each section as set for the stage that reads it."""
    owner = {"listening": "ingest", "catalogue": "ingest", "audio": "mel"}
    last = list(chain.values())[-1]
    found = []
    for section in last.settings:
        run = chain.get(owner.get(section, section), last)
        found += non_defaults({section: run.settings.get(section, {})})
    return found


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_setting(item) for item in value) or "none"
    if isinstance(value, dict):
        return str(value.get("path", value))
    return "null" if value is None else str(value)
