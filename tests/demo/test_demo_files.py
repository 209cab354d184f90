"""Test audio files: good ones can be decoded, and broken ones have the planted fault."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile

from etude.config.demo import DemoSettings
from etude.demo.files import BAD, FORMATS, MISLABELLED, Piece, plan, write_piece


def outcome(path) -> str:
    """Return the result of reading 3 s crops of a file."""
    if not path.exists():
        return "missing"
    try:
        samples, rate = soundfile.read(path)
    except soundfile.LibsndfileError:
        return "undecodable"
    if len(samples) < 3 * rate:
        return "too_short"
    return "silent" if np.abs(samples).max() < 1e-5 else "usable"


def test_every_listed_file_is_what_was_planted(corpus) -> None:
    listed = pd.read_csv(corpus.folder / "manifest.csv").set_index("track_id").audio_path
    fates = (
        pd.read_parquet(corpus.folder / "truth/tracks.parquet", columns=["track_id", "audio"])
        .set_index("track_id")
        .audio
    )
    assert set(fates[fates == "unlisted"].index) == set(fates.index) - set(listed.index)
    outcomes = {track: outcome(corpus.folder / path) for track, path in listed.items()}
    for track, found in outcomes.items():
        assert found == BAD.get(fates[track], "usable"), (track, fates[track])
    expected = corpus.expected["audio"]
    counted = Counter(outcomes.values())
    assert counted.pop("usable") == expected["usable"]
    assert dict(counted) == expected["refused"]
    assert set(BAD) <= set(fates)
    on_disk = {str(path.relative_to(corpus.folder)) for path in (corpus.folder / "audio").rglob("*.*")}
    assert on_disk == {path for track, path in listed.items() if fates[track] != "missing"}


def test_formats_are_mixed_and_mislabelled_ones_lie(corpus) -> None:
    listed = pd.read_csv(corpus.folder / "manifest.csv").set_index("track_id").audio_path
    fates = (
        pd.read_parquet(corpus.folder / "truth/tracks.parquet", columns=["track_id", "audio"])
        .set_index("track_id")
        .audio
    )
    found = Counter()
    for track, path in listed[fates[listed.index].isin(["good", "mislabelled"])].items():
        info = soundfile.info(corpus.folder / path)
        found[info.format] += 1
        truthful = path.endswith(f".{info.format.lower()}")
        assert truthful == (fates[track] == "good"), path
        assert 10 <= info.duration <= 30.2
    assert found == corpus.expected["audio"]["formats"]
    assert set(found) == set(FORMATS)


def test_the_plan_keeps_to_its_shares() -> None:
    settings = DemoSettings(tracks=4000)
    files = plan(settings, np.zeros(4000, dtype=np.int32))
    counts = Counter(files.fate.tolist())
    assert counts["unlisted"] == 80
    assert counts["mislabelled"] == 40
    assert sum(counts[kind] for kind in BAD) == 80
    assert max(counts[kind] for kind in BAD) - min(counts[kind] for kind in BAD) <= 1
    assert np.mean(files.rate <= 22050) > 0.85
    assert 0.1 < np.mean(files.channels == 2) < 0.2
    assert 10 <= files.seconds.min() <= files.seconds.max() <= 30
    assert set(MISLABELLED) == set(FORMATS)


def test_where_mp3_cannot_be_written_there_is_flac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "FLAC": "", "OGG": ""})
    files = plan(DemoSettings(tracks=500), np.zeros(500, dtype=np.int32))
    assert set(files.format) == {"WAV", "FLAC", "OGG"}


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("channels", [1, 2])
def test_the_same_piece_gives_the_same_file(tmp_path, kind: str, channels: int) -> None:
    piece = Piece(7, tmp_path / "a", 1, np.zeros(8), 0, kind, 11025, channels, 3.5, "good")
    write_piece(piece)
    write_piece(replace(piece, path=tmp_path / "b"))
    first, again = (soundfile.read(tmp_path / name) for name in "ab")
    assert first[1] == again[1] == 11025
    assert first[0].ndim == channels
    np.testing.assert_array_equal(first[0], again[0])
    if kind != "OGG":  # Ogg streams have a random serial number
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_piece(replace(piece, path=tmp_path / "c", track=8))
    other, _ = soundfile.read(tmp_path / "c")
    assert len(other) != len(first[0]) or not np.allclose(other, first[0], atol=0.01)


def test_mixed_to_mono_a_stereo_piece_sounds_like_the_mono_one(tmp_path) -> None:
    mono = Piece(3, tmp_path / "mono", 1, np.zeros(8), 0, "FLAC", 8000, 1, 4.0, "good")
    write_piece(mono)
    write_piece(replace(mono, path=tmp_path / "stereo", channels=2))
    both, _ = soundfile.read(tmp_path / "stereo")
    np.testing.assert_allclose(both.mean(axis=1) * 1.5, soundfile.read(tmp_path / "mono")[0], atol=2e-4)
    assert not np.allclose(both[:, 0], both[:, 1], atol=1e-3)
