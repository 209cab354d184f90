"""Let a network that an earlier run trained predict for later tracks, on a fit of the same basis."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from etude import storage
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, InputMissingError, SettingsError
from etude.fusion import checkpoint as checkpoints
from etude.fusion.checkpoint import Checkpoint, Origin
from etude.fusion.shape import ExampleShape
from etude.fusion.vocabulary import FIRST_ARTIST, Vocabulary, as_frame
from etude.lake import folders
from etude.lake.graph import RunGraph


def earlier_network(root: str, graph: RunGraph, run_id: str, now: Origin) -> tuple[bytes, Checkpoint]:
    """Return the best epoch's checkpoint of an earlier run: its bytes and its content.

    Args:
        root: of the lake.
        graph: the lake's runs.
        run_id: of the train run.
        now: what this run would train on.

    Raises:
        InputMissingError: no such run has succeeded, or it trained no network.
        DataCheckError: what it was trained on has run again since, or its factors have another basis.
        SettingsError: it was trained under another protocol, or on other mel settings.
    """
    said = f"train.network_run_id={run_id}"
    uri = checkpoints.best_uri(folders.checkpoints(root, "train", run_id))
    if graph.succeeded("train", run_id) is None or not storage.exists(uri):
        raise InputMissingError(f"{said}: no succeeded train run of that id has trained a network")
    content = storage.read_bytes(uri)
    found = checkpoints.from_bytes(content, uri)
    for name in ("protocol", "mel_settings_sha256"):
        before, after = getattr(found.origin, name), getattr(now, name)
        if before != after:
            raise SettingsError(f"{said}: it was trained with {name}={before}, this run has {after}; train a network")
    if graph.is_outdated("train", run_id):
        raise DataCheckError(f"{said}: what it was trained on has run again since; train a network")
    bases = [graph.basis(each.wmf_run_id).run_id for each in (found.origin, now)]
    if bases[0] != bases[1]:
        raise DataCheckError(
            f"{said}: its factors have the basis of wmf run {bases[0]}, this run's that of {bases[1]}; factors of two "
            "fits have no common basis: train a network, or stay in the basis with wmf.mode=refit or fold_in"
        )
    return content, found


def check_fits(network: Checkpoint, settings: TrainSettings, shape: ExampleShape) -> None:
    """Check that the network reads the examples of this run.

    Raises:
        SettingsError: it is another model, or it reads arrays of other sizes.
    """
    pairs = {
        **{f"train.{name}": (getattr(network.settings, name), getattr(settings, name)) for name in ("model", "fields")},
        "the examples' shape": (network.shape, shape),
    }
    for name, (before, after) in pairs.items():
        if before != after:
            raise SettingsError(
                f"train.network_run_id={network.origin.run_id}: {name} was {before}, is {after}; use its settings, or "
                "train a network"
            )


def unknown_artists(tracks: DataFrame, vocabulary: Vocabulary) -> float:
    """Return the share of artists that the vocabulary lacks, among tracks with an artist; 0 without such tracks.

    Args:
        tracks: artist_id.
        vocabulary: of the network.
    """
    known = as_frame(tracks.sparkSession, vocabulary.artists, "artist_id", "known", "string", FIRST_ARTIST)
    named = tracks.where(F.col("artist_id").isNotNull()).join(F.broadcast(known), "artist_id", "left")
    total, found = named.agg(F.count(F.lit(1)), F.count("known")).collect()[0]
    return 1 - found / total if total else 0.0
