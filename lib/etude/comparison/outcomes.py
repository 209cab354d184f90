"""Read from the lake what networks are judged by, and what they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude.comparison.contest import Contest, Judged, judge
from etude.config.compare import CompareSettings
from etude.errors import DataCheckError, InputMissingError
from etude.fusion.device import CPU
from etude.fusion.predict import TrainedNetwork
from etude.ranking.inputs import TrackFacts
from etude.ranking.models import Known, same_artist
from etude.search.candidates import Pairs
from etude.vectors import Factors, SizeLimit, collect

_DRAWS = 2**20


def size_limit(settings: CompareSettings) -> SizeLimit:
    """Return the limit of what is collected at a time."""
    return SizeLimit(settings.collect_mb, "compare.collect_mb", "lower compare.users, or raise it")


def contest_of(
    interactions: DataFrame,
    splits: DataFrame,
    user_factors: DataFrame,
    track_factors: DataFrame,
    split: str,
    settings: CompareSettings,
    seed: int,
) -> Contest:
    """Return what predictions of a split's tracks are judged by: the plays of those tracks.

    Args:
        interactions: user_idx, track_idx.
        splits: of the wmf run.
        user_factors: of the wmf run; users without factors don't judge.
        track_factors: of the wmf run.
        split: test or validation.
        settings: the largest number of users, and of bytes.
        seed: of the choice among more users.

    Raises:
        InputMissingError: nobody has played a track of that split.
        DataCheckError: the data exceed `compare.collect_mb`.
    """
    tracks = splits.where((F.col("kind") == "track") & (F.col("split") == split)).select("track_idx")
    limit = size_limit(settings)
    targets = collect(track_factors.join(tracks, "track_idx"), "track_idx", limit)
    of_split = interactions.join(tracks, "track_idx").select("user_idx", "track_idx").distinct()
    judges = of_split.select("user_idx").distinct().join(user_factors, "user_idx").select("user_idx", "factors")
    n = judges.count()
    if n > settings.users:
        drawn = F.pmod(F.xxhash64(F.lit(seed), F.lit("compare"), "user_idx"), F.lit(_DRAWS))
        judges = judges.where(drawn < int(settings.users / n * _DRAWS))
    users = collect(judges, "user_idx", limit)
    mine = of_split.join(judges.select("user_idx"), "user_idx")
    checked(mine.count(), 16, "pairs of users and tracks", settings)
    pairs = mine.toArrow()
    if not pairs.num_rows or not len(targets):
        raise InputMissingError(f"no plays of {split} tracks: nothing to judge predictions by")
    user_idx, track_idx = (pairs[name].to_numpy() for name in ("user_idx", "track_idx"))
    known = np.isin(track_idx, targets.idx)
    rows = np.searchsorted(users.idx, user_idx[known])
    order = np.lexsort((track_idx[known], rows))
    return Contest(users.values, targets, Pairs(rows[order], track_idx[known][order].astype(np.int32)))


def checked(rows: int, row_bytes: int, what: str, settings: CompareSettings) -> None:
    """Refuse to collect more than `compare.collect_mb`.

    Raises:
        DataCheckError: it would be more.
    """
    size = rows * row_bytes / 2**20
    if size > settings.collect_mb:
        raise DataCheckError(
            f"{rows:,} {what} of {row_bytes} bytes are {size:,.0f} MB, more than "
            f"compare.collect_mb={settings.collect_mb}: lower compare.users, or raise it"
        )


def predictions(
    predicted: DataFrame, run_ids: Sequence[str], targets: Factors, column: str, settings: CompareSettings
) -> dict[str, Factors]:
    """Return what each train run predicts for the candidates: run_id -> factors.

    Args:
        predicted: rows of `predicted_factors`.
        run_ids: the runs.
        targets: the candidates' own factors.
        column: factors, network or ridge.
        settings: the limit of their size.

    Raises:
        DataCheckError: the data exceed `compare.collect_mb`, or a run predicts none of the candidates.
    """
    checked(len(run_ids) * len(targets), 4 * targets.rank, "predicted factors", settings)
    candidates = targets.idx_frame(predicted.sparkSession, "track_idx")
    some = predicted.where(F.col("run_id").isin(list(run_ids))).join(candidates, "track_idx")
    table = some.select("run_id", "track_idx", F.col(column).alias("factors")).toArrow()
    found = {}
    for run_id in run_ids:
        mine = table.filter(pa.compute.equal(table["run_id"], run_id))
        if not mine.num_rows:
            raise DataCheckError(f"train run {run_id} predicts no held-out track; train it again")
        found[run_id] = Factors.from_table(mine, "track_idx", targets.rank)
    return found


def artist_means(track_factors: DataFrame, facts: TrackFacts, settings: CompareSettings) -> Factors:
    """Return for each held-out track the mean factors of its artist's training tracks.

    Args:
        track_factors: of the wmf run.
        facts: facts of every track.
        settings: the limit of their size.
    """
    every = collect(track_factors, "track_idx", size_limit(settings))
    # same_artist itself leaves the held-out tracks' own factors out of the means.
    return same_artist(Known(fitted=every, held_out=every, predicted=None, facts=facts))


def judged_epochs(
    examples: DataFrame, checkpoints: Mapping[int, bytes], contest: Contest, row_bytes: int, settings: CompareSettings
) -> dict[int, Judged]:
    """Judge what a network predicts after each epoch.

    Args:
        examples: rows of `examples` of the train run and of the contest's split.
        checkpoints: epoch -> bytes of the checkpoint.
        contest: with that split's tracks as candidates.
        row_bytes: bytes of an example.
        settings: the limit of what is collected.

    Raises:
        DataCheckError: the examples exceed `compare.collect_mb`.
    """
    checked(examples.count(), row_bytes, "validation examples", settings)
    rows: pd.DataFrame = examples.toArrow().to_pandas().sort_values("track_idx")
    idx = rows["track_idx"].to_numpy(np.int32)
    return {
        epoch: judge(contest, Factors(idx, TrainedNetwork(content, CPU).predict(rows)))
        for epoch, content in checkpoints.items()
    }
