import io
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from sounds import librosa_mel, sound, write

from etude.audio.decode import open_audio, read_crop
from etude.audio.recipe import Recipe, position, positions
from etude.audio.refusal import RefusedError
from etude.audio.spectrogram import log_mel

RECIPE = Recipe()
# The relative start of this id's crop is close to 1.
LATE = next(f"track {i}" for i in range(1000) if position(1, f"track {i}", 0) > 0.95)


def crop_of(source, track_id="t", crop=0, recipe=RECIPE):
    with open_audio(source if isinstance(source, bytes) else str(source)) as file:
        return read_crop(source if isinstance(source, bytes) else str(source), file, track_id, crop, recipe)


def reason_of(source, **more):
    with pytest.raises(RefusedError) as caught:
        crop_of(source, **more)
    return caught.value.reason


@pytest.mark.parametrize(
    ("form", "rate", "channels"),
    [
        ("wav", 8000, 1),
        ("wav", 44_100, 2),
        ("wav", 11_025, 3),
        ("flac", 22_050, 1),
        ("flac", 48_000, 2),
        ("ogg", 44_100, 2),
        ("ogg", 16_000, 1),
        ("opus", 48_000, 2),
        ("mp3", 44_100, 2),
        ("mp3", 22_050, 1),
    ],
)
def test_each_format_gives_what_librosa_gives(tmp_path, form, rate, channels):
    path = write(tmp_path / f"x.{form}", sound(7.3, rate, channels), rate)
    found = crop_of(path)
    assert found.samples.shape == (24_000,)
    assert found.samples.dtype == np.float32
    assert 0 < found.offset_s < found.duration_s - 3
    assert np.abs(log_mel(found.samples, RECIPE) - librosa_mel(path, found.offset_s)).max() < 1e-3


def test_the_window_is_where_the_hash_says(tmp_path):
    path = write(tmp_path / "x.wav", sound(10, 8000), 8000)
    for crop in range(3):
        found = crop_of(path, "a track", crop)
        assert found.duration_s == 10.0
        assert found.offset_s == pytest.approx(position(1, "a track", crop) * 7.0)
        start = int(found.offset_s * 8000)
        np.testing.assert_array_equal(found.samples, soundfile.read(path, dtype="float32")[0][start : start + 24_000])


def test_bytes_give_what_the_path_gives(tmp_path):
    path = write(tmp_path / "x.ogg", sound(6, 22_050), 22_050)
    from_path, from_bytes = crop_of(path), crop_of(path.read_bytes())
    np.testing.assert_array_equal(from_path.samples, from_bytes.samples)
    assert from_path.content_sha256 == from_bytes.content_sha256


def test_the_content_hash_is_of_the_window_not_of_the_file(tmp_path):
    samples = np.round(sound(10, 8000).clip(-0.9, 0.9) * 2**15) / 2**15  # 16 bits hold these values without loss
    first = crop_of(write(tmp_path / "a.wav", samples, 8000))
    assert crop_of(write(tmp_path / "b.flac", samples, 8000)).content_sha256 == first.content_sha256
    samples[int(first.offset_s * 8000) + 100] += 0.1
    assert crop_of(write(tmp_path / "c.wav", samples, 8000)).content_sha256 != first.content_sha256


def test_exactly_three_seconds_are_enough_and_a_sample_less_is_not(tmp_path):
    samples = sound(3, 44_100)
    assert crop_of(write(tmp_path / "x.wav", samples, 44_100)).offset_s == 0.0
    assert reason_of(write(tmp_path / "y.wav", samples[:-1], 44_100)) == "too_short"


def test_a_silent_window_is_replaced_by_another_one_of_the_file(tmp_path):
    samples = sound(60, 8000)
    first = int(position(1, "t", 0) * 57 * 8000)
    samples[first - 8000 : first + 4 * 8000] = 0
    path = write(tmp_path / "pause.wav", samples, 8000)
    found = crop_of(path)
    assert found.offset_s == positions(RECIPE, "t", 0)[1] * 57
    assert np.abs(found.samples).max() > 0.1
    assert crop_of(path).content_sha256 == crop_of(path.read_bytes()).content_sha256 == found.content_sha256
    assert crop_of(path, recipe=Recipe(offsets=2)).content_sha256 == found.content_sha256
    assert reason_of(path, recipe=Recipe(offsets=1)) == "silent"


def test_a_file_with_little_sound_is_found_by_more_offsets(tmp_path):
    samples = np.zeros((100 * 8000, 1), np.float32)
    samples[-30 * 8000 :] = sound(30, 8000)
    path = write(tmp_path / "x.flac", samples, 8000)
    found = [crop_of(path, f"track {n}").offset_s for n in range(50)]
    assert min(found) > 100 - 30 - 3
    samples[:] = 0
    path = write(tmp_path / "y.flac", samples, 8000)
    with pytest.raises(RefusedError, match=r"peak 0\.0e\+00, expected at least 1e-05; offsets tried: 7, the first"):
        crop_of(path, recipe=Recipe(offsets=7))


def test_channels_that_cancel_out_are_not_called_silence(tmp_path):
    samples = sound(6, 8000)
    opposite = np.concatenate([samples, -samples], axis=1)
    rest = np.concatenate([opposite, 0 * samples], axis=1)
    for n, each in enumerate((opposite, rest)):
        path = write(tmp_path / f"{n}.wav", each, 8000, subtype="FLOAT")
        with pytest.raises(RefusedError, match=r"silent: the channels cancel out: their mean has peak 0\.0e\+00, a ch"):
            crop_of(path)
    path = write(tmp_path / "zero.wav", 0 * opposite, 8000)
    with pytest.raises(RefusedError, match=r"silent: peak 0\.0e\+00, expected at least 1e-05"):
        crop_of(path)


@pytest.mark.parametrize(
    ("rate", "samples", "shown"),
    [
        (44_100, 132_295, "2.9999"),
        (8000, 23_999, "2.9999"),
        (192_000, 575_999, "2.99999"),
        (44_100, 119_000, "2.698"),
    ],
)
def test_a_file_that_lacks_a_few_samples_is_shown_as_shorter_than_needed(tmp_path, rate, samples, shown):
    path = write(tmp_path / "x.wav", sound(3.1, rate)[:samples], rate)
    with pytest.raises(RefusedError, match=f"too_short: {re.escape(shown)} s of audio; at least 3 s needed$"):
        crop_of(path)


def test_a_crop_of_no_sample_is_not_blamed_on_the_file(tmp_path):
    path = write(tmp_path / "x.wav", sound(5, 8000), 8000)
    with pytest.raises(RefusedError, match=r"too_short: mel\.crop_s=1e-05 is less than a sample at 8000 Hz"):
        crop_of(path, recipe=Recipe(crop_s=1e-5))


@pytest.mark.parametrize("form", ["ogg", "opus"])
def test_of_several_ogg_streams_the_first_is_read_and_the_detail_says_so(tmp_path, form):
    short, long = (write(tmp_path / f"{n}.{form}", sound(n, 48_000, seed=n), 48_000).read_bytes() for n in (1, 8))
    for chained in (short + long, short + short, short + long + short):
        with pytest.raises(RefusedError, match=r"too_short: 1\.\d+ s .*; only the first of several Ogg streams"):
            crop_of(chained)
    with pytest.raises(RefusedError, match=r"needed$"):
        crop_of(short)
    # The window is that of the first stream alone, not always its end.
    other = write(tmp_path / f"other.{form}", sound(9, 48_000, seed=9), 48_000).read_bytes()
    with soundfile.SoundFile(io.BytesIO(long + other)) as file:
        assert file.frames > 1 << 62
    first, both = crop_of(long), crop_of(long + other)
    assert (both.offset_s, both.duration_s) == (first.offset_s, first.duration_s)
    np.testing.assert_array_equal(both.samples, first.samples)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE HTML><html><head><title>404 Not Found</title>" * 20, "not audio: the file is an HTML page"),
        (b"#EXTM3U\nhttp://example.org/a.mp3\n" * 300, "not audio: the file is text"),
        ('{"error": "caf\u00e9"}'.encode() * 900, "not audio: the file is text"),
        (bytes(5000), None),
        (bytes(range(256)) * 40, None),
    ],
)
@pytest.mark.parametrize("suffix", ["mp3", "wav", "ogg"])
def test_what_is_no_audio_is_named_and_never_called_missing(tmp_path, data, detail, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        crop_of(path)
    assert caught.value.reason == "undecodable"
    assert caught.value.detail
    assert "exist" not in caught.value.detail
    assert detail in (None, caught.value.detail)


def test_a_name_that_is_not_utf8_is_opened(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    write(Path(path), sound(5, 8000), 8000)
    assert crop_of(path).duration_s == 5.0
    Path(path).write_bytes(b"")
    assert reason_of(path) == "undecodable"
    Path(path).unlink()
    assert reason_of(path) == "missing"
    Path(path).mkdir()
    with pytest.raises(RefusedError, match="unreadable: IsADirectoryError: Is a directory"):
        crop_of(path)


def test_silence_is_judged_on_the_window_at_its_native_rate(tmp_path):
    quiet = np.zeros((5 * 22_050, 1), np.float32)
    assert reason_of(write(tmp_path / "a.wav", quiet, 22_050, subtype="FLOAT")) == "silent"
    quiet += 0.9e-5
    assert reason_of(write(tmp_path / "b.wav", quiet, 22_050, subtype="FLOAT")) == "silent"
    quiet[::2000] = 1.2e-4  # clicks mostly above 4 kHz, which resampling removes
    assert crop_of(write(tmp_path / "c.wav", quiet, 22_050, subtype="FLOAT")).offset_s >= 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, bad):
    samples = sound(5, 8000)
    samples[::999] = bad
    assert reason_of(write(tmp_path / "x.wav", samples, 8000, subtype="FLOAT")) == "non_finite"


def test_files_that_are_no_audio(tmp_path):
    for name, data in {
        "a.wav": b"",
        "b.ogg": b"not audio at all" * 99,
        "c.mp3": bytes(4096),
        "d.raw": bytes(99),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert reason_of(tmp_path / name) == "undecodable"
        assert reason_of(data) == "undecodable"
    assert reason_of(tmp_path / "none.wav") == "missing"
    assert reason_of(tmp_path) in ("unreadable", "undecodable")


def test_a_wav_that_claims_4_gb(tmp_path):
    path = write(tmp_path / "x.wav", sound(10, 8000), 8000)
    honest = crop_of(path, LATE)
    data = bytearray(path.read_bytes())
    at = data.find(b"data") + 4
    data[4:8] = data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    found = crop_of(path, LATE)
    assert (found.duration_s, found.offset_s) == (honest.duration_s, honest.offset_s)


@pytest.mark.parametrize("claimed", [0, (1 << 36) - 1, 8000 * 60])
def test_a_flac_that_lies_about_its_length(tmp_path, claimed):
    path = write(tmp_path / "x.flac", sound(10, 8000), 8000)
    data = bytearray(path.read_bytes())
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (fields | claimed).to_bytes(8, "big")
    path.write_bytes(data)
    found = crop_of(path, LATE)
    assert found.duration_s == 10.0
    assert found.offset_s == position(1, LATE, 0) * 7.0
    start = int(found.offset_s * 8000)
    np.testing.assert_allclose(found.samples, sound(10, 8000)[start : start + 24_000, 0].clip(-1, 1), atol=1e-4)
    short = write(tmp_path / "short.flac", sound(2, 8000), 8000)
    data[42:] = short.read_bytes()[42:]
    path.write_bytes(data)
    assert reason_of(path, track_id=LATE) in ("too_short", "undecodable")


@pytest.mark.parametrize(
    ("form", "decodable_s"), [("wav", 10.0), ("flac", 10.5), ("ogg", 9.5), ("opus", 9.0), ("mp3", 9.9)]
)
def test_half_a_file_gives_the_window_that_it_still_holds(tmp_path, form, decodable_s):
    samples = sound(20, 24_000)
    path = write(tmp_path / f"x.{form}", samples, 24_000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = crop_of(path, LATE)
    assert found.duration_s == pytest.approx(decodable_s, abs=0.2)
    assert found.duration_s - 3.2 < found.offset_s <= found.duration_s - 3
    start = int(found.offset_s * 24_000)
    whole = soxr.resample(samples[start : start + 72_000, 0].clip(-1, 1), 24_000, 8000, quality="HQ")
    if form in ("wav", "flac"):
        np.testing.assert_allclose(found.samples, whole, atol=1e-3)
    assert np.corrcoef(found.samples, whole)[0, 1] > 0.9
