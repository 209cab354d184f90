"""Test vocabularies and features."""

from __future__ import annotations

import numpy as np
import pytest

from etude.config.train import TrainSettings
from etude.errors import DataCheckError
from etude.fusion.features import chosen_mel, features, known_tracks
from etude.fusion.shape import MelShape, example_shape
from etude.fusion.vocabulary import Vocabulary, build_vocabulary
from fusion.planted import frame_of, track_row


@pytest.fixture(scope="module")
def tracks(spark):
    rows = [
        track_row(0, "x", 1990, ["rock", "new", "jazz"], [0.25, 0.5, 0.25]),
        track_row(1, "x", 1991, ["rock"], None),
        track_row(2, "y", 1991, ["jazz", "rock"], [0.9, 0.1]),
        track_row(3, None, None, [], []),
        track_row(4),
        track_row(5, "z", 1990, ["never"], [1.0]),
    ]
    return frame_of(spark, "tracks", rows).cache()


def mel_row(idx, crop, value, n_mels=2, n_frames=3):
    return (f"t{idx}", crop, "s", [value] * n_mels * n_frames, n_mels, n_frames, 8000, 0.0, 3.0, "a", 1, None, "c")


@pytest.fixture(scope="module")
def mel(spark):
    return frame_of(spark, "mel", [mel_row(0, 0, 1.0), mel_row(0, 1, 2.0), mel_row(4, 0, 3.0)]).cache()


def test_vocabulary_numbers_the_most_common_first_and_ends_at_its_caps(tracks):
    every = build_vocabulary(tracks, TrainSettings())
    assert every.artists == ("x", "y", "z")
    assert every.years == (1990, 1991)
    assert every.tags == ("rock", "jazz", "never", "new")
    few = build_vocabulary(tracks, TrainSettings(max_artists=1, max_tags=2, fields=("artist", "tags")))
    assert few == Vocabulary(("x",), (), ("rock", "jazz"))
    assert Vocabulary.from_dict(every.as_dict()) == every


def test_features_of_each_track(tracks, mel):
    vocabulary = Vocabulary(("x", "y"), (1991,), ("rock", "jazz"))
    settings = TrainSettings(tags_per_track=2)
    heard, mel_shape = chosen_mel(mel, settings)
    assert mel_shape == MelShape(2, 3)
    shape = example_shape(settings, vocabulary, mel_shape, rank=4)
    rows = {row["track_idx"]: row for row in features(tracks, heard, vocabulary, shape).collect()}
    assert sorted(rows) == [0, 1, 2, 3, 4, 5]
    assert [rows[i]["artist_index"] for i in range(6)] == [2, 2, 3, 1, 1, 0]
    assert [rows[i]["year_index"] for i in range(6)] == [0, 2, 2, 1, 1, 0]
    assert [rows[i]["has_mel"] for i in range(6)] == [1, 0, 0, 0, 1, 0]
    assert rows[0]["mel"] == [1.0] * 6 and rows[1]["mel"] == [0.0] * 6 and rows[4]["mel"] == [3.0] * 6
    # Known tags are ordered by weight, then by place in the list. Weights are damped, their squares sum to 1.
    light, heavy = np.log1p([100 * 0.1 / 0.9, 100]) / np.hypot(*np.log1p([100 * 0.1 / 0.9, 100]))
    tags = [(rows[i]["tag_indices"], rows[i]["tag_weights"]) for i in range(6)]
    none = ([0, 0], [0.0, 0.0])
    assert [indices for indices, _ in tags] == [[1, 2], [1, 0], [2, 1], [0, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(
        [weights for _, weights in tags[:3]], [[0.5**0.5] * 2, [1, 0], [heavy, light]], rtol=1e-6
    )
    assert tags[3:] == [none] * 3


def test_several_crops_lie_one_after_the_other_and_missing_ones_repeat(tracks, mel):
    settings = TrainSettings(crops=3, fields=())
    heard, mel_shape = chosen_mel(mel, settings)
    shape = example_shape(settings, Vocabulary(), mel_shape, rank=4)
    rows = {row["track_idx"]: row["mel"] for row in features(tracks, heard, Vocabulary(), shape).collect()}
    assert rows[0] == [1.0] * 6 + [2.0] * 6 + [1.0] * 6
    assert rows[4] == [3.0] * 18
    assert rows[1] == [0.0] * 18


def test_what_makes_a_track_known_depends_on_what_the_model_reads(tracks, mel):
    def known(**settings):
        chosen = TrainSettings(**settings)
        heard, _ = chosen_mel(mel, chosen)
        return sorted(row["track_idx"] for row in known_tracks(tracks, heard, chosen).collect())

    assert known() == [0, 1, 2, 4, 5]
    assert known(model="embeddings") == [0, 1, 2, 5]
    assert known(model="cnn") == [0, 4]
    assert known(model="embeddings", fields=("year",)) == [0, 1, 2, 5]
    assert known(fields=()) == [0, 4]


def test_no_mel_is_a_shape_of_nothing_and_two_shapes_are_an_error(spark, tracks, mel):
    settings = TrainSettings()
    none, shape = chosen_mel(mel.where("false"), settings)
    assert shape == MelShape(0, 0)
    vocabulary = Vocabulary(("x",), (), ())
    rows = features(tracks, none, vocabulary, example_shape(settings, vocabulary, shape, 4)).collect()
    assert {(tuple(row["mel"]), row["has_mel"]) for row in rows} == {((), 0)}
    mixed = mel.unionByName(frame_of(spark, "mel", [mel_row(1, 0, 1.0, n_frames=4)]))
    with pytest.raises(DataCheckError, match="different shapes"):
        chosen_mel(mixed, settings)
