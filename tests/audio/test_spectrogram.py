import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import librosa_mel_of, sound

from etude.audio.recipe import Recipe
from etude.audio.spectrogram import analysis_window, filterbank, log_mel

RECIPE = Recipe()


@pytest.mark.parametrize("gain", [1.0, 1e-3, 1e-6])
def test_equals_librosa(gain):
    samples = gain * sound(3, 8000)[:, 0]
    mel = log_mel(samples, RECIPE)
    assert (mel.shape, mel.dtype) == ((128, 47), np.float32)
    assert np.abs(mel - librosa_mel_of(samples)).max() < 1e-3


def test_equals_librosa_where_a_quiet_band_stands_beside_a_loud_one():
    # With a pure tone at full scale, distant bands hold only the transform's rounding noise.
    samples = np.sin(2 * np.pi * 1000 * np.arange(24_000) / 8000).astype(np.float32)
    assert np.abs(log_mel(samples, RECIPE) - librosa_mel_of(samples)).max() < 1e-3


@pytest.mark.parametrize(("rate", "n_fft", "n_mels"), [(8000, 1024, 128), (22_050, 2048, 128), (16_000, 512, 40)])
def test_filters_are_librosas(rate, n_fft, n_mels):
    from librosa.filters import mel

    np.testing.assert_allclose(filterbank(rate, n_fft, n_mels), mel(sr=rate, n_fft=n_fft, n_mels=n_mels), atol=1e-8)


@pytest.mark.parametrize("name", ["hamming", "hann"])
def test_windows_are_librosas(name):
    from librosa.filters import get_window

    np.testing.assert_allclose(analysis_window(name, 1024), get_window(name, 1024), atol=1e-12)


def test_filters_and_window_are_built_once_and_cannot_be_changed():
    assert filterbank(8000, 1024, 128) is filterbank(8000, 1024, 128)
    assert analysis_window("hamming", 1024) is analysis_window("hamming", 1024)
    with pytest.raises(ValueError, match="read-only"):
        filterbank(8000, 1024, 128)[0, 0] = 1


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-2, 1e2), st.integers(0, 1000))
def test_a_louder_sound_is_the_same_picture_so_many_db_higher(gain, seed):
    samples = np.random.default_rng(seed).standard_normal(24_000).astype(np.float32)
    louder = log_mel((samples * np.float64(gain)).astype(np.float32), RECIPE)
    np.testing.assert_allclose(louder, log_mel(samples, RECIPE) + 20 * np.log10(gain), atol=2e-3)


def test_nothing_lies_under_minus_100_db():
    assert (log_mel(np.zeros(24_000, np.float32), RECIPE) == -100).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 700), st.integers(1, 3000))
def test_the_recipe_knows_how_many_frames_there_will_be(half_fft, hop, samples):
    recipe = Recipe(sample_rate=1000, crop_s=samples / 1000, n_fft=2 * half_fft * 37, hop_length=hop, n_mels=2)
    assert log_mel(np.ones(recipe.n_samples, np.float32), recipe).shape == (2, recipe.n_frames)
