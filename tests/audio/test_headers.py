"""Test files whose header states no length or a wrong one."""

import io
import struct

import numpy as np
import pytest
import soundfile
from sounds import sound

from etude.audio import flac, mp3
from etude.audio.decode import open_audio, read_crop
from etude.audio.headers import with_true_length
from etude.audio.recipe import Recipe, position
from etude.audio.refusal import RefusedError

RECIPE = Recipe()
EARLY, LATE = (
    next(f"track {i}" for i in range(1000) if low < position(1, f"track {i}", 0) < low + 0.05) for low in (0.05, 0.94)
)


def crop_of(data, track_id=LATE):
    with open_audio(bytes(data)) as file:
        return read_crop(bytes(data), file, track_id, 0, RECIPE)


def stated(data):
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return file.frames / file.samplerate


def same(found, honest, tolerance=0.0):
    """Check that a crop is that of the same file with a true header."""
    assert (found.duration_s, found.offset_s) == (honest.duration_s, honest.offset_s)
    assert np.abs(found.samples - honest.samples).max() <= tolerance


def encoded(seconds=12.0, rate=44_100, channels=2, **shape):
    """Encode a second of loud noise and then a quiet chord: the bit rate of the first frame is far above the mean."""
    samples = 0.02 * sound(seconds, rate, channels)
    samples[:rate] = np.random.default_rng(0).uniform(-0.9, 0.9, (rate, channels))
    file = io.BytesIO()
    soundfile.write(
        file, samples, rate, **{"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.1, **shape}
    )
    return file.getvalue()


def without_tag(data):
    """Remove the first frame of an MP3 file, which holds its Xing tag."""
    assert b"Xing" in data[:100] or b"Info" in data[:100]
    return data[_second_frame(data) :]


def _second_frame(data):
    at = data.find(data[:2], 100)
    while data[at + 3] >> 6 != data[3] >> 6:
        at = data.find(data[:2], at + 1)
    return at


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (22_050, 1), (48_000, 1), (32_000, 2), (8_000, 1)])
def test_an_mp3_without_a_tag_is_counted(rate, channels):
    whole = encoded(rate=rate, channels=channels)
    data = without_tag(whole)
    assert abs(stated(data) - 12) > 2
    for form in (data, b"ID3\4\0\0\0\0\1\0" + bytes(128) + data, data + b"TAG" + bytes(125)):
        found = crop_of(form)
        assert found.duration_s == pytest.approx(12, abs=0.25)
        assert found.offset_s == pytest.approx(position(1, LATE, 0) * (found.duration_s - 3))


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_samples_of_a_counted_mp3_are_where_they_are_without_the_count(rate, channels):
    data = without_tag(encoded(6, rate, channels))
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        plain, guessed = file.read(always_2d=True), file.frames
    with open_audio(data) as file:
        assert file.length != guessed
        counted = file.read(file.length, always_2d=True)
        assert len(counted) == file.length
        file.seek(file.length // 2)
        np.testing.assert_allclose(file.read(999, always_2d=True), counted[file.length // 2 :][:999], atol=1e-6)
    both = min(len(plain), len(counted))
    np.testing.assert_allclose(counted[:both], plain[:both], atol=1e-6)


@pytest.mark.parametrize("seconds", [3.5, 7.0])
def test_an_mp3_whose_length_is_underestimated_is_not_too_short(seconds):
    assert crop_of(without_tag(encoded(seconds))).duration_s == pytest.approx(seconds, abs=0.2)
    assert stated(without_tag(encoded(seconds))) < seconds - 1


def test_an_mp3_tag_that_states_nothing_or_another_length_is_corrected():
    whole = encoded()
    honest = crop_of(whole)
    at = whole.index(b"Xing") + 8
    for count in (0, 7, 1 << 30):
        same(crop_of(whole[:at] + struct.pack(">I", count) + whole[at + 4 :]), honest)
    twice = whole + without_tag(whole)
    assert crop_of(twice).duration_s == pytest.approx(24, abs=0.2)
    vbri = bytearray(whole[: _second_frame(whole)])
    vbri[4:] = bytes(len(vbri) - 4)
    vbri[36:54] = b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 0, 0)
    assert crop_of(bytes(vbri) + without_tag(whole)).duration_s == pytest.approx(12, abs=0.2)


def test_half_an_mp3_has_half_the_length_wherever_its_crop_lies():
    whole = encoded()
    half = whole[: len(whole) // 2]
    assert stated(half) == 12
    early, late = crop_of(half, EARLY), crop_of(half, LATE)
    assert early.duration_s == late.duration_s < 8
    assert late.offset_s == pytest.approx(position(1, LATE, 0) * (late.duration_s - 3))


def test_damage_inside_an_mp3_costs_only_its_frames():
    data = bytearray(without_tag(encoded()))
    middle = len(data) // 2
    data[middle : middle + 700] = bytes(700)
    assert crop_of(data).duration_s == pytest.approx(12, abs=0.5)


def test_a_trusted_mp3_is_not_counted(monkeypatch):
    monkeypatch.setattr(mp3, "_count", lambda *_: pytest.fail("counted"))
    for mode in ("VARIABLE", "CONSTANT"):
        whole = encoded(bitrate_mode=mode)
        for data in (whole, whole + b"TAG" + bytes(125)):
            assert with_true_length(data, "MP3", 12 * 44_100) is None


def test_a_constant_bit_rate_is_left_to_libsndfile():
    data = without_tag(encoded(bitrate_mode="CONSTANT"))
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert with_true_length(data, "MP3", file.frames) is None
    assert crop_of(data).duration_s == pytest.approx(12, abs=0.1)


def flac_of(samples, rate=8000, **shape):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", **shape)
    return file.getvalue()


def claiming(data, samples):
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    return data[:18] + (fields | samples).to_bytes(8, "big") + data[26:]


@pytest.mark.parametrize("claimed", [0, 100, 8000 * 9, 8000 * 60, (1 << 36) - 1])
def test_a_flac_that_states_another_length_gives_what_it_gives_with_the_true_one(claimed):
    for samples in (sound(10, 8000), sound(10.3, 8000, 2)):
        data = flac_of(samples)
        for track_id in (EARLY, LATE):
            same(crop_of(claiming(data, claimed), track_id), crop_of(data, track_id))
        tagged = b"ID3\4\0\0\0\0\0\x10" + bytes(16) + claiming(data, claimed)
        same(crop_of(tagged), crop_of(data))


@pytest.mark.parametrize("part", [0.4, 0.5, 0.77])
def test_a_part_of_a_flac_has_the_length_of_its_complete_frames_wherever_its_crop_lies(part):
    samples = sound(20, 44_100, 2)
    data = flac_of(samples, 44_100)
    cut = data[: int(part * len(data))]
    early, late = crop_of(cut, EARLY), crop_of(cut, LATE)
    assert early.duration_s == late.duration_s < 18
    assert round(early.duration_s * 44_100) % 4096 == 0
    start, end = int(early.duration_s * 44_100) - 4096, int(early.duration_s * 44_100)
    with open_audio(cut) as file:
        file.seek(start)
        np.testing.assert_allclose(file.read(4096, always_2d=True), samples[start:end].clip(-1, 1), atol=1e-4)


def test_a_true_flac_costs_no_check_of_its_frames(monkeypatch):
    data = flac_of(sound(10, 44_100, 2), 44_100)
    monkeypatch.setattr(flac, "_crc", lambda data, bits, _: pytest.fail("checked") if bits == 16 else 0)
    assert with_true_length(data, "FLAC", 441_000) is None


def pcm(form, subtype):
    file = io.BytesIO()
    soundfile.write(file, sound(6, 8000, 2), 8000, format=form, subtype=subtype)
    return bytearray(file.getvalue())


def put(data, at, value):
    data[at : at + len(value)] = value


def cut_off(form, data):
    """Yield the file as recorders leave it that are cut off: with the sizes of an empty or of an endless file."""
    marker = data.find(b"SSND" if form == "AIFF" else b"data")
    if form in ("WAV", "WAVEX"):
        for riff in (0, 36, len(data) - 8, 0xFFFFFFFF):
            put(data, 4, struct.pack("<I", riff))
            put(data, marker + 4, bytes(4))
            yield data
    elif form == "RF64":
        for size in (0, -1):
            put(data, data.find(b"ds64") + 8, struct.pack("<qqq", 0, size, 0))
            yield data
    elif form == "W64":
        for size in (0, 24):
            put(data, 16, bytes(8))
            put(data, marker + 16, struct.pack("<q", size))
            yield data
    elif form == "AIFF":
        for size in (0, 8):
            put(data, 4, bytes(4))
            put(data, data.find(b"COMM") + 10, bytes(4))
            put(data, marker + 4, struct.pack(">I", size))
            yield data
    elif form == "AU":
        put(data, 8, bytes(4))
        yield data
    elif form == "CAF":
        for size in (0, 4, -1):
            put(data, marker + 4, struct.pack(">q", size))
            yield data


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM")),
        *((form, "PCM_16") for form in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")),
    ],
)
def test_a_recording_without_its_sizes_is_read_to_its_end(form, subtype):
    data = pcm(form, subtype)
    honest = crop_of(data)
    cases = 0
    for cut in cut_off(form, bytearray(data)):
        same(crop_of(cut), honest)
        cases += 1
    assert cases


def test_what_states_no_length_and_has_no_sound_stays_too_short():
    for form in ("WAV", "RF64", "AIFF", "AU"):
        file = io.BytesIO()
        soundfile.write(file, np.empty((0, 1)), 8000, format=form)
        with pytest.raises(RefusedError, match=r"too_short: 0\.000 s of audio"):
            crop_of(file.getvalue())


def test_a_path_gives_what_bytes_give(tmp_path):
    path = tmp_path / "x.wav"
    data = pcm("WAV", "PCM_16")
    put(data, data.find(b"data") + 4, bytes(4))
    path.write_bytes(data)
    with open_audio(str(path)) as file:
        same(read_crop(str(path), file, LATE, 0, RECIPE), crop_of(data))
