"""Make up the facts of a lake, shaped like those of a real one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import numpy as np

from etude.config import Settings
from etude.lake.runs import Run
from etude.report.facts import (
    Catalogue,
    Facts,
    Figure,
    Figures,
    Line,
    Listening,
    Lists,
    Mel,
    Rejected,
    Sample,
    Search,
    Trial,
)

START = datetime(2026, 1, 31, 3, 0, tzinfo=timezone.utc)
SECONDS = {"ingest": 21.4, "wmf": 33.0, "mel": 48.2, "train": 95.7, "topn": 17.3}
WROTE = {
    "ingest": {"plays": 3, "rejects": 4, "tracks": 3, "users": 3, "interactions": 3},
    "wmf": {"splits": 1, "user_factors": 1, "track_factors": 1, "metrics": 2},
    "mel": {"mel": 1, "rejects": 5},
    "train": {"examples": 2, "predicted_factors": 1, "metrics": 4},
    "topn": {"recommendations": 1, "metrics": 5},
}
READ = {
    "ingest": {},
    "wmf": {"interactions": 3},
    "mel": {"tracks": 3},
    "train": {"tracks": 3, "track_factors": 1, "splits": 1, "mel": 1},
    "topn": {"user_factors": 1, "track_factors": 1, "predicted_factors": 1, "interactions": 3, "splits": 1},
}
UPSTREAM = {"train": ("wmf",), "topn": ("wmf", "train")}


def chain(protocol: str, run_id: str) -> dict[str, Run]:
    settings = Settings().model_dump(mode="json")
    settings["evaluation"]["protocol"] = protocol
    settings["wmf"].update(rank=50, alpha=5.0)
    settings["listening"].update(path="build/demo/landing/logs", min_plays_per_user=5)
    runs, started = {}, START
    for job, seconds in SECONDS.items():
        ended = started + timedelta(seconds=seconds)
        runs[job] = Run(
            run_id="demo" if job in ("ingest", "mel") else run_id,
            job=job,
            protocol=protocol,
            batch_date=date(2026, 1, 31),
            started_at=started,
            ended_at=ended,
            settings=settings,
            inputs=READ[job],
            outputs=WROTE[job],
            upstream={each: [run_id] for each in UPSTREAM.get(job, ())},
            row_counts={"rows_in": 152_340, "rows_out": 139_002},
            package_version="0.1.0",
            status="succeeded",
        )
        started = ended
    return runs


SCALE = {
    "random": 0.012,
    "popularity": 0.05,
    "artist_popularity": 0.09,
    "same_artist": 0.16,
    "fusion": 0.21,
    "true_factors": 0.31,
}


def ranking_figures() -> list[Figure]:
    rows = []
    for slice_, size in (("cold", 1.0), ("warm", 0.8), ("all", 0.6), ("head", 0.9), ("tail", 0.5)):
        for model, scale in SCALE.items():
            for k in (5, 10, 20, 50, 100):
                recall = 1 - np.exp(-scale * size * k / 12)
                values = {
                    "recall": recall,
                    "precision": recall * 4 / k,
                    "f1": 2 * recall * 4 / k / (1 + 4 / k),
                    "ndcg": recall * 0.7,
                    "map": recall * 0.4,
                    "mrr": recall * 0.5,
                    "hit_rate": min(1.0, recall * 2),
                    "coverage": 0.4 + scale,
                    "novelty": 9 + scale,
                }
                if slice_ == "all":
                    values.update(cold_share=0.07 + scale / 3, cold_recall=recall / 2)
                rows += [Figure("topn", model, slice_, name, float(v), k=k) for name, v in values.items()]
            rows.append(Figure("topn", model, slice_, "users", 1_887))
            rows.append(Figure("topn", model, slice_, "users_left_out", 113))
            rows.append(Figure("topn", model, slice_, "candidates", 1_342 * size))
            rows.append(Figure("topn", model, slice_, "auc", float(0.5 + min(0.47, scale * 1.6))))
    return rows


def learning_figures() -> list[Figure]:
    rows = [Figure("wmf", "blocked", "train", "loss", 4.1e5 * (0.55 + np.exp(-i / 2)), step=i) for i in range(1, 16)]
    for epoch in range(1, 31):
        rows.append(Figure("train", "fusion", "train", "loss", 0.25 + 0.7 * np.exp(-epoch / 7), step=epoch))
        validation = 0.46 + 0.5 * np.exp(-epoch / 5) + 0.004 * max(0, epoch - 15)
        rows.append(Figure("train", "fusion", "validation", "loss", validation, step=epoch))
    for model, mse in (("fusion", 0.0123), ("same_artist", 0.0151), ("training_mean", 0.0212)):
        for name, value in (
            ("mse", mse),
            ("rmse", mse**0.5),
            ("mae", mse**0.5 * 0.8),
            ("msle", mse * 0.9),
            ("msle_left_out", 0.0031),
        ):
            rows.append(Figure("train", model, "test", name, float(value)))
    return rows


def mel(number: int) -> Mel:
    rng = np.random.default_rng(number)
    time, band = np.meshgrid(np.arange(47), np.arange(128))
    tone = 60 * np.exp(-(((band - 30 - 20 * np.sin(time / (5 + number))) % 32) ** 2) / 18)
    db = tone - 70 + rng.normal(0, 3, (128, 47)) - band / 6
    return Mel(f"TR{number:05d}", f"Study no. {number}", "Ada Lehmann", db, 8000, 4.21 * number, 512)


TITLES = ["Nocturne in Blue", "Étude <op. 3>", "Passacaglia & Fugue", "Toccata", "Serenade for Rain", "Slow Air"]


def sample(number: int) -> Sample:
    played = tuple(
        Line(TITLES[(number + i) % 6], "Ada Lehmann", f"T{i}", "played", float(31 // (i + 1))) for i in range(4)
    )
    sources = ("warm", "warm", "cold", "warm", "popularity", "cold", "warm", "warm")
    lines = tuple(
        Line(TITLES[(2 * number + i) % 6], "Jo Okafor", f"T{i}", source, 1.2 - i / 10)
        for i, source in enumerate(sources)
    )
    return Sample(100 + number, 6 * (number + 1), played, lines)


def searched() -> Search:
    points = [("log", 1.0, 10.0), ("log", 3.2, 25.0), ("linear", 12.0, 60.0), ("linear", 0.5, 2.0)]
    trials = [
        Trial(rank, form, alpha, regularization, 0.11 + 0.013 * number + rank / 5000, as_given=number == 0)
        for rank in (32, 100)
        for number, (form, alpha, regularization) in enumerate(points)
        if rank == 32 or number in (0, 3)
    ]
    return Search("tune", "ndcg", 100, tuple(trials))


def facts() -> Facts:
    rejects = (
        Rejected("ingest", "demo-log", "duplicate", 2_811),
        Rejected("ingest", "demo-log", "unknown_track", 903),
        Rejected("ingest", "demo-log", "bad_timestamp", 412),
        Rejected("ingest", "demo-log", "negative_count", 120),
        Rejected("mel", "manifest", "too_short", 9),
        Rejected("mel", "manifest", "undecodable", 6),
        Rejected("mel", "manifest", "silent", 4),
    )
    return Facts(
        title="Etude demo",
        note="The corpus is synthetic: audio, catalogue and logs were made by the demo generator with a planted "
        "structure. Nothing here was measured on real listeners.",
        k=20,
        lake="file:///srv/etude/build/demo/lake",
        written_at=START + timedelta(minutes=9),
        listening=Listening(
            rows=152_340,
            plays=152_340,
            users=2_000,
            tracks=1_380,
            batches=1,
            sources=("demo-log",),
            first=START - timedelta(days=365),
            last=START,
            interactions=61_204,
            interacting_users=1_991,
            interacting_tracks=1_342,
            rejects=rejects,
        ),
        catalogue=Catalogue(1_500, 1_500, 1_500, 1_431, 1_388, 1_490),
        mel_rows=1_471,
        mels=(mel(1), mel(2)),
        evaluation=chain("strict", "demo-strict"),
        evaluation_figures=Figures([*ranking_figures(), *learning_figures()], "strict"),
        production=chain("none", "demo"),
        production_figures=Figures(learning_figures()[:15], "none"),
        lists=Lists(2_000, 200_000, {"warm": 171_000, "cold": 28_000, "popularity": 1_000}, 1_402),
        samples=tuple(sample(number) for number in range(4)),
        search=searched(),
    )


def bare() -> Facts:
    """Return the facts of a lake in which only ingest ran."""
    whole = facts()
    only = {"ingest": whole.production["ingest"]}
    return Facts(
        title="Bare",
        note=None,
        k=20,
        lake=whole.lake,
        written_at=whole.written_at,
        listening=replace(whole.listening, rejects=()),
        catalogue=whole.catalogue,
        mel_rows=0,
        production=only,
        production_figures=Figures((), "none"),
    )
