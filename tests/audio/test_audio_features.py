import numpy as np
import pytest
from sounds import sound, write

from etude.audio import features
from etude.audio.features import Refusal, Spectrogram, spectrograms
from etude.audio.recipe import Recipe

RECIPE = Recipe()


def test_several_crops_of_a_file_come_in_the_order_asked(tmp_path):
    path = str(write(tmp_path / "x.wav", sound(20, 8000), 8000))
    found = spectrograms(path, "t", [2, 0], RECIPE)
    assert [outcome.crop for outcome in found] == [2, 0]
    (alone,) = spectrograms(path, "t", [0], RECIPE)
    np.testing.assert_array_equal(found[1].mel, alone.mel)
    assert found[0].offset_s != found[1].offset_s


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_crop_is_the_same_whatever_was_read_before(tmp_path, form):
    """A decoder keeps something of what it has decoded, which must not reach the next crop."""
    path = str(write(tmp_path / f"x.{form}", sound(30, 48_000, 2), 48_000))
    for track in map(str, range(10)):
        for together in spectrograms(path, track, range(4), RECIPE):
            (alone,) = spectrograms(path, track, [together.crop], RECIPE)
            assert together.content_sha256 == alone.content_sha256, (track, together.crop)


def test_a_hole_near_the_start_of_an_mp3_costs_only_its_surroundings(tmp_path):
    path = write(tmp_path / "x.mp3", sound(30, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    hole = len(data) * 2 // 30
    data[hole : hole + 4000] = bytes(4000)
    path.write_bytes(data)
    found = [spectrograms(str(path), f"track {n}", [0], RECIPE)[0] for n in range(60)]
    assert {type(each) for each in found} == {Spectrogram}
    assert min(each.duration_s for each in found) > 29


def test_one_silent_crop_costs_that_crop_alone(tmp_path):
    samples = sound(60, 8000)
    samples[30 * 8000 :] = 0
    found = spectrograms(str(write(tmp_path / "x.wav", samples, 8000)), "t", range(20), Recipe(offsets=1))
    kinds = {type(outcome) for outcome in found}
    assert kinds == {Spectrogram, Refusal}
    for outcome in found:
        if isinstance(outcome, Refusal):
            assert outcome.reason == "silent"
        else:
            assert outcome.offset_s < 30


def test_each_silent_crop_is_moved_to_where_it_would_be_alone(tmp_path):
    samples = sound(60, 8000)
    samples[30 * 8000 :] = 0
    path = str(write(tmp_path / "x.wav", samples, 8000))
    together = spectrograms(path, "t", range(20), RECIPE)
    assert all(outcome.offset_s < 30 for outcome in together)
    for crop in (19, 3):
        (alone,) = spectrograms(path, "t", [crop], RECIPE)
        np.testing.assert_array_equal(alone.mel, together[crop].mel)


def test_a_file_that_cannot_be_opened_refuses_every_crop(tmp_path):
    (tmp_path / "x.mod").write_bytes(bytes(range(256)) * 9)
    found = spectrograms(str(tmp_path / "x.mod"), "t", [0, 1], RECIPE)
    assert [(o.crop, o.reason) for o in found] == [(0, "undecodable"), (1, "undecodable")]


def test_what_goes_wrong_otherwise_is_named(wav_path, monkeypatch):
    def fail(error):
        def raising(*_):
            raise error

        monkeypatch.setattr(features, "read_crop", raising)
        return spectrograms(wav_path, "t", [0], RECIPE)[0]

    assert fail(MemoryError()).reason == "out_of_memory"
    refusal = fail(RuntimeError("soxr is unhappy"))
    assert (refusal.reason, refusal.detail) == ("failed", "RuntimeError: soxr is unhappy")


def test_a_spectrogram_that_is_not_finite_is_refused(wav_path, monkeypatch):
    monkeypatch.setattr(features, "log_mel", lambda *_: np.full((128, 47), np.nan))
    assert spectrograms(wav_path, "t", [0], RECIPE)[0].reason == "non_finite"
