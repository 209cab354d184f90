"""Train a network to predict factors of tracks from sound, artist, year and tags; predict them for all such tracks.

Predicted factors are a mean of two predictions: the network's, and that of a ridge regression on the same inputs. The
network's share is chosen on validation tracks (train.network_share). train.model=ridge is the regression alone. With
train.network_run_id, an earlier run's network predicts, and none is trained.

It reads track_factors and splits of a wmf run, tracks, and the mel rows of the present mel settings. It writes examples
(what the training ranks read), predicted_factors and metrics. Each epoch writes a checkpoint to
_checkpoints/train/<run_id> in the lake. --resume continues from the last one, with the result of an uninterrupted run.
With evaluation.protocol=strict, the network learns nothing from held-out tracks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import storage
from etude.fusion import checkpoint as checkpoints
from etude.fusion.accuracy import factor_errors
from etude.fusion.checkpoint import Checkpoint, Origin
from etude.fusion.distribution import chosen_name
from etude.fusion.examples import build_examples, deal, targets
from etude.fusion.features import chosen_mel, features, known_tracks
from etude.fusion.loop import Training, best_epoch
from etude.fusion.moments import moments_of
from etude.fusion.predict import Predictor, best_share, predict
from etude.fusion.regression import Regressions, fit_ridge
from etude.fusion.reuse import check_fits, earlier_network, unknown_artists
from etude.fusion.shape import MelShape, example_shape
from etude.fusion.shards import live_shards
from etude.fusion.training import check_slots, curves, rank_count, resumable, train_network
from etude.fusion.vocabulary import build_vocabulary
from etude.job import JobRun, main
from etude.lake import Metric, folders
from etude.slots import lasting_executors
from etude.tracks import without_aliases

_EQUAL_SHARE = 0.5
"""The network's share without validation tracks."""


@dataclass(frozen=True)
class Content:
    """Hold the content of the tracks."""

    tracks: DataFrame
    """Rows of `tracks` with anything that the model can read."""
    mel: DataFrame
    mel_shape: MelShape


def run(job: JobRun) -> None:
    """Build the examples, train, predict, measure the errors."""
    trains = job.settings.train.trains_network
    # Checked before anything is replaced, and again when the ranks start.
    if trains and lasting_executors(job.spark):
        check_slots(job.spark, job.settings.train)
    content = known_content(job)
    folder = folders.checkpoints(job.lake.root, "train", job.run_id)
    earlier = resumable(folder, job.settings.train) if job.resume and trains else None
    if job.resume and trains and earlier is None:
        job.log.warning("resume=%s epoch=0 reason='no checkpoint is there; training starts anew'", folder)
    reused = reused_network(job)
    known = reused[1] if reused else None
    training = continued(job, earlier, folder) if earlier else prepared(job, content, folder, known)
    note_unknown(job, content, training)
    examples = job.lake.read("examples", training.origin.examples_version, run_id=job.run_id)

    network = trained(job, training) if trains else reused and reused[0]
    ridge = fit_ridge(examples, training.shape, job.settings.train, job.log)
    predictor = Predictor(ridge, network, share_of_network(job, training, examples, ridge, network))
    job.note("network_share", round(predictor.share, 4))
    job.note("ridge_penalties", asdict(ridge.whole.penalties))

    write_predictions(job, content, training, predictor)
    measure(job, training, examples)


def reused_network(job: JobRun) -> tuple[bytes, Checkpoint] | None:
    """Return the network of train.network_run_id; None if it isn't set."""
    run_id = job.settings.train.network_run_id
    if run_id is None or job.settings.train.model == "ridge":
        return None
    job.note("network_of", run_id)
    return earlier_network(job.lake.root, job.graph, run_id, origin(job, 0))


def note_unknown(job: JobRun, content: Content, training: Training) -> None:
    """Record the share of unknown artists; warn if a network of an earlier run knows too few."""
    if "artist" not in training.settings.fields:
        return
    share = unknown_artists(content.tracks, training.vocabulary)
    job.note("unknown_artists", round(share, 4))
    if training.settings.network_run_id and share > training.settings.unknown_warning:
        job.log.warning(
            "%.0f%% of the artists of tracks are unknown to the network of train run %s; train.unknown_warning expects "
            "at most %.0f%%: train a network",
            *(100 * share, training.settings.network_run_id, 100 * training.settings.unknown_warning),
        )


def trained(job: JobRun, training: Training) -> bytes:
    """Train the network; record its figures; return the best epoch's checkpoint."""
    history = train_network(job.spark, training, job.log)
    job.metrics(curves(history, job.settings.train))
    job.note("distribution", chosen_name(training.settings.distribution, training.settings.device))
    job.note("epochs", len(history))
    job.note("best_epoch", best_epoch(history))
    best = checkpoints.best_uri(training.folder)
    job.note("checkpoint", best)
    return storage.read_bytes(best)


def share_of_network(
    job: JobRun, training: Training, examples: DataFrame, ridge: Regressions, network: bytes | None
) -> float:
    """Return the network's share in the predicted factors: as set, or chosen on the validation tracks."""
    if network is None:
        return 0.0
    given = job.settings.train.network_share
    if given is not None:
        return given
    of_validation = examples.where(F.col("split") == "validation")
    both = Predictor(ridge, network, _EQUAL_SHARE)
    predicted = predict(of_validation, of_validation.count(), both, training.shape, training.settings.seed)
    chosen = best_share(predicted, of_validation.select("track_idx", "target"))
    return _EQUAL_SHARE if chosen is None else chosen


def known_content(job: JobRun) -> Content:
    """Return the tracks with content that the model reads. Sound is used only if some training track has it."""
    train = job.settings.train
    mel, mel_shape = chosen_mel(job.read("mel", settings_sha256=job.settings.mel.settings_sha256), train)
    tracks = without_aliases(job.read("tracks"))
    if mel_shape != MelShape():
        learned = job.read("splits", run_id=job.upstream("wmf"), kind="track", split="train")
        if tracks.join(learned, on="track_idx").join(mel, on="track_id").isEmpty():
            mel, mel_shape = mel.limit(0), MelShape()
    if mel_shape == MelShape() and train.model in ("fusion", "ridge"):
        job.log.warning("no training track has mel rows of the present mel settings: the model reads metadata only")
    if train.crops > 1 and mel_shape != MelShape():
        most = mel.agg(F.max("crop")).collect()[0][0] + 1
        if most < train.crops:
            job.log.warning("train.crops=%d, but mel has at most %d per track: they are repeated", train.crops, most)
    return Content(known_tracks(tracks, mel, train), mel, mel_shape)


def prepared(job: JobRun, content: Content, folder: str, network: Checkpoint | None) -> Training:
    """Write `examples` and return a new training; an earlier network's vocabulary is kept."""
    train, wmf = job.settings.train, job.upstream("wmf")
    goals, rank = targets(job.read("track_factors", run_id=wmf), job.read("splits", run_id=wmf), job.record.protocol)
    examples = content.tracks.join(goals, on="track_idx")
    learned = examples.where(F.col("split") == "train")
    vocabulary = network.vocabulary if network else build_vocabulary(learned, train)
    shape = example_shape(train, vocabulary, content.mel_shape, rank)
    if network:
        check_fits(network, train, shape)
    dealt = deal(examples, train, shape, rank_count(train))
    count_examples(job, dealt.sizes)
    if not dealt.sizes.get("validation"):
        job.log.warning("no validation tracks: the last epoch counts as the best, and train.patience is ignored")
    job.replace("examples", build_examples(dealt, content.mel, vocabulary, shape))

    storage.delete(folder)  # what an earlier attempt trained is of other examples
    written = job.written("examples", run_id=job.run_id)
    shards = live_shards(written, "train")
    if len(shards) < rank_count(train):
        job.log.warning(
            "%d training tracks are too few for %d ranks: one trains", dealt.sizes["train"], rank_count(train)
        )
        train = train.model_copy(update={"workers": 1})
    return Training(
        settings=train,
        shape=shape,
        vocabulary=vocabulary,
        origin=origin(job, job.record.outputs["examples"]),
        moments={} if network else moments_of(written.where(F.col("split") == "train"), shape),
        training_shards=shards,
        validation_shards=live_shards(written, "validation"),
        folder=folder,
    )


def continued(job: JobRun, earlier: Checkpoint, folder: str) -> Training:
    """Return the training that continues `earlier`, on the version of `examples` that it read.

    Raises:
        SettingsError: it was trained on other inputs than this run would read.
    """
    version = earlier.origin.examples_version
    earlier.origin.check_resumable(origin(job, version))
    job.log.info("resume=%s epoch=%d", folder, earlier.epoch)
    written = job.read("examples", version=version, run_id=job.run_id)
    count_examples(job, dict(written.groupBy("split").count().collect()))
    return Training(
        settings=job.settings.train,
        shape=earlier.shape,
        vocabulary=earlier.vocabulary,
        origin=earlier.origin,
        moments={},
        training_shards=live_shards(written, "train"),
        validation_shards=live_shards(written, "validation"),
        folder=folder,
    )


def origin(job: JobRun, examples_version: int) -> Origin:
    """Return what this run trains on: its wmf run, protocol, mel settings and a version of `examples`."""
    wmf = job.upstream("wmf")
    run = job.graph.succeeded("wmf", wmf)
    fitted = None if run is None else run.outputs.get("track_factors")
    mel = job.settings.mel.settings_sha256
    return Origin(job.run_id, wmf, fitted, job.record.protocol, examples_version, mel)


def count_examples(job: JobRun, sizes: Mapping[str, int]) -> None:
    """Record the number of examples per split."""
    for split in ("train", "validation", "test"):
        job.count(f"examples_{split}", sizes.get(split, 0))


def write_predictions(job: JobRun, content: Content, training: Training, predictor: Predictor) -> None:
    """Write predicted factors of every track with features."""
    splits = job.read("splits", run_id=training.origin.wmf_run_id, kind="track").select("track_idx", "split")
    tracks = content.tracks.join(splits, on="track_idx", how="left")
    known = features(tracks, content.mel, training.vocabulary, training.shape, keep=("split",))
    found = predict(known, job.read("tracks").count(), predictor, training.shape, training.settings.seed)
    job.replace("predicted_factors", found.withColumn("wmf_run_id", F.lit(training.origin.wmf_run_id)))


def measure(job: JobRun, training: Training, examples: DataFrame) -> None:
    """Record the errors of the predicted factors and of both predictions that they consist of, by split."""
    predicted = job.written("predicted_factors", run_id=job.run_id)
    job.count("predicted_factors", predicted.count())
    settings = training.settings
    columns: dict[str, str] = {settings.model: "factors"}
    if settings.model != "ridge":
        columns |= {"network": "network", "ridge": "ridge"}
    for model, column in columns.items():
        factors = predicted.select("track_idx", F.col(column).alias("factors"))
        errors = factor_errors(factors, examples.select("track_idx", "split", "target"))
        job.metrics(
            Metric(model, row["split"], row["metric"], row["value"], seed=settings.seed)
            for row in errors.collect()  # five metrics per split
        )


if __name__ == "__main__":
    main("train", run, __doc__)
