"""Test examples: the targets of each protocol, equal shards, and their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from etude import storage
from etude.config.train import TrainSettings
from etude.errors import DataCheckError, InputMissingError
from etude.frames import small_frame
from etude.fusion import moments
from etude.fusion.examples import build_examples, deal, targets
from etude.fusion.features import chosen_mel, known_tracks
from etude.fusion.moments import column_moments
from etude.fusion.readers import batches, reader
from etude.fusion.shape import ExampleShape, example_shape
from etude.fusion.shards import live_shards
from etude.fusion.vocabulary import build_vocabulary
from fusion.conftest import MEL_SETTINGS
from fusion.planted import N_FRAMES, N_MELS, RANK, frame_of

pytestmark = pytest.mark.slow

SPLITS = [("w", "track", i, -1, split) for i, split in enumerate(("train", "train", "validation", "test"))]
SPLITS += [("w", "play", 0, 7, "test")]


def factors(spark, *origins):
    return frame_of(spark, "track_factors", [("w", i, [float(i), 1.0], o) for i, o in enumerate(origins)])


def test_targets_follow_the_protocol(spark):
    splits = frame_of(spark, "splits", SPLITS)
    strict = factors(spark, "fit", "fit", "held_out", "held_out", "fit")
    rows, rank = targets(strict, splits, "strict")
    rows = rows.orderBy("track_idx").collect()
    assert rank == 2
    assert [(row["track_idx"], row["split"], row["target"][0]) for row in rows] == [
        (0, "train", 0.0), (1, "train", 1.0), (2, "validation", 2.0), (3, "test", 3.0),
    ]  # fmt: skip
    fitted = factors(spark, "fit", "fit", "fit", "fit")
    assert targets(fitted, splits, "paper")[0].count() == 4
    # Nights fold in whatever is played: after some, hardly a track has the factors of the fit.
    assert targets(factors(spark, "fold_in", "fold_in", "fit", "fold_in"), splits, "none")[0].count() == 4


@pytest.mark.parametrize(
    ("protocol", "origins"),
    [
        ("strict", ("fit", "fit", "fit", "held_out")),
        ("strict", ("held_out", "fit")),
        ("none", ("fit", "fit", "held_out")),
    ],
)
def test_factors_that_a_protocol_withholds_are_an_error(spark, protocol, origins):
    with pytest.raises(DataCheckError, match="1 tracks have factors that protocol"):
        targets(factors(spark, *origins), frame_of(spark, "splits", SPLITS), protocol)


def test_no_training_factors_is_a_missing_input(spark):
    with pytest.raises(InputMissingError, match="no training track"):
        targets(factors(spark), frame_of(spark, "splits", SPLITS), "strict")


def test_factors_of_two_lengths_are_an_error(spark):
    rows = frame_of(spark, "track_factors", [("w", 0, [1.0], "fit"), ("w", 1, [1.0, 2.0], "fit")])
    with pytest.raises(DataCheckError, match="lengths from 1 to 2"):
        targets(rows, frame_of(spark, "splits", SPLITS), "strict")


def test_shards_are_equal_random_and_the_same_however_spark_cuts_the_rows(spark):
    shape = ExampleShape(0, 0, 1, 1, 1, 1, 1, 4)
    tracks = spark.range(1003).select(
        F.col("id").cast("int").alias("track_idx"),
        F.when(F.col("id") < 803, "train").when(F.col("id") < 1000, "validation").otherwise("test").alias("split"),
    )
    dealt = deal(tracks, TrainSettings(), shape, ranks=3)
    assert dealt.sizes == {"train": 803, "validation": 197, "test": 3}
    rows = dealt.rows.collect()
    assert len({row["track_idx"] for row in rows}) == len(rows) == 1003
    for split, count, least in (("train", 12, 66), ("validation", 12, 16), ("test", 3, 1)):
        sizes = np.bincount([row["shard"] for row in rows if row["split"] == split])
        assert len(sizes) == count
        assert set(sizes) <= {least, least + 1}
    mean = np.mean([row["track_idx"] for row in rows if row["split"] == "train" and row["shard"] == 0])
    assert 250 < mean < 550
    again = deal(tracks.repartition(7, F.rand(5)), TrainSettings(), shape, ranks=3).rows.collect()
    assert set(again) == set(rows)
    assert set(deal(tracks, TrainSettings(seed=2), shape, ranks=3).rows.collect()) != set(rows)
    with pytest.raises(InputMissingError, match="no training track has any input"):
        deal(tracks.where("split = 'test'"), TrainSettings(model="cnn"), shape, ranks=3)


@pytest.fixture(scope="module")
def stored(planted_lake):
    settings = TrainSettings()
    mel, mel_shape = chosen_mel(planted_lake.read("mel", settings_sha256=MEL_SETTINGS), settings)
    goals, _ = targets(planted_lake.read("track_factors"), planted_lake.read("splits"), "strict")
    tracks = known_tracks(planted_lake.read("tracks"), mel, settings)
    examples = tracks.join(goals, on="track_idx")
    vocabulary = build_vocabulary(examples.where("split = 'train'"), settings)
    shape = example_shape(settings, vocabulary, mel_shape, RANK)
    rows = build_examples(deal(examples, settings, shape, ranks=2), mel, vocabulary, shape)
    version = planted_lake.replace("examples", rows.withColumn("run_id", F.lit("r")), run_id="r")
    return planted_lake.read("examples", version, run_id="r"), shape, vocabulary


def test_every_shard_is_one_file_of_one_row_group_that_petastorm_and_arrow_can_read(stored, planted):
    written, shape, _ = stored
    shards = live_shards(written, "train")
    assert [shard.number for shard in shards] == list(range(8))
    sizes = {shard.rows for shard in shards}
    assert max(sizes) - min(sizes) <= 1
    for shard in shards:
        system, path = storage.filesystem(shard.uri)
        file = pq.ParquetFile(path, filesystem=system)
        assert (file.num_row_groups, file.metadata.num_rows) == (1, shard.rows)
    columns = ("mel", "has_mel", "artist_index", "tag_indices", "tag_weights", "target")
    for name in ("arrow", "petastorm"):
        rows = next(batches(reader(name), columns, shards, 10_000))
        assert len(rows["track_idx"]) == sum(shard.rows for shard in shards)
        assert set(planted.split[rows["track_idx"]]) == {"train"}
        np.testing.assert_array_equal(rows["target"], planted.factors[rows["track_idx"]])
        heard = rows["track_idx"] % 10 != 0
        np.testing.assert_array_equal(rows["has_mel"], heard)
        flat = planted.mel.reshape(len(planted.mel), -1)
        np.testing.assert_array_equal(rows["mel"], np.where(heard[:, None], flat[rows["track_idx"]], 0))
    assert shape.mel_size == N_MELS * N_FRAMES


def test_the_vocabulary_knows_training_tracks_only(stored, planted):
    _, _, vocabulary = stored
    training = np.flatnonzero(planted.split == "train")
    assert set(vocabulary.artists) == {f"a{planted.artist[i]}" for i in training if i % 7}
    rare = {tag for tag in vocabulary.tags if tag.startswith("rare")}
    assert rare == {f"rare{i}" for i in training if i % 5}


def test_moments_are_those_of_numpy(stored, planted):
    written, _, _ = stored
    rows = written.where("split = 'train'")
    chosen = planted.factors[[row["track_idx"] for row in rows.select("track_idx").collect()]]
    found = column_moments(rows, "target", RANK)
    np.testing.assert_allclose(found.mean, chosen.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.std, chosen.std(axis=0), rtol=1e-5)
    heard = [row["track_idx"] for row in rows.where("has_mel = 1").select("track_idx").collect()]
    mel = column_moments(rows.where("has_mel = 1"), "mel", N_MELS, N_FRAMES)
    np.testing.assert_allclose(mel.mean, planted.mel[heard].mean(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(mel.std, planted.mel[heard].std(axis=(0, 2)), rtol=1e-4)


def test_moments_of_more_rows_than_are_taken_at_once(monkeypatch):
    values = np.random.default_rng(0).standard_normal((700, 6)).astype("f4")
    batches = [pd.DataFrame({"values": list(part)}) for part in (values[:600], values[:0], values[600:])]
    stacked = []
    monkeypatch.setattr(moments.np, "stack", lambda rows: (stacked.append(len(rows)), np.array(rows))[1])
    (found,) = moments._partial_sums(iter(batches), places=2, repeats=3)
    np.testing.assert_allclose(found["total"], values.reshape(-1, 2, 3).sum(axis=(0, 2), dtype="f8"))
    np.testing.assert_allclose(found["squares"], np.square(values.reshape(-1, 2, 3), dtype="f8").sum(axis=(0, 2)))
    assert found["n"].tolist() == [2100, 2100]
    assert stacked == [256, 256, 88, 100]


def test_moments_of_constant_and_of_broken_columns(spark):
    frame = small_frame(spark, [([5.0, 1.0],), ([5.0, 3.0],)], "target array<float>")
    found = column_moments(frame, "target", 2)
    assert found.mean.tolist() == [5.0, 2.0]
    assert found.std.tolist() == [1.0, 1.0]
    with pytest.raises(DataCheckError, match="no training rows"):
        column_moments(frame.where("false"), "target", 2)
    broken = small_frame(spark, [([float("nan"), 1.0],)], "target array<float>")
    with pytest.raises(DataCheckError, match="NaN"):
        column_moments(broken, "target", 2)
