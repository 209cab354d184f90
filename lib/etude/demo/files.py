"""Plan and write the audio files: format, rate, channels and length per track, and the broken files.

The same seed gives the same bytes for WAV, FLAC and MP3. For Ogg it gives the same decoded samples, because Ogg streams
have a random serial number. A file depends only on its track, so the number of processes doesn't matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import soundfile
from numpy.typing import NDArray

from etude.config.demo import DemoSettings
from etude.demo.latent import generator
from etude.demo.names import artist_ids, track_ids
from etude.demo.render import render

FORMATS = {"WAV": 0.2, "FLAC": 0.35, "OGG": 0.25, "MP3": 0.2}
"""Format -> share of the tracks; FLAC replaces MP3 if libsndfile can't write MP3."""
SUBTYPES = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
RATES = {8000: 0.2, 11025: 0.15, 16000: 0.3, 22050: 0.27, 44100: 0.08}
"""Rate in Hz -> share of the tracks; low rates dominate, because encoding takes most of the time."""
STEREO = 0.15
MISLABELLED = {"FLAC": "wav", "WAV": "flac", "OGG": "mp3", "MP3": "ogg"}
"""Format -> a wrong suffix; libsndfile detects the format from the content and reads all of them."""
BAD = {
    "cut_header": "undecodable",
    "random_bytes": "undecodable",
    "text": "undecodable",
    "empty": "undecodable",
    "silent": "silent",
    "too_short": "too_short",
    "missing": "missing",
}
"""Fault of an unusable file -> the reason for which mel refuses it."""


@dataclass(frozen=True)
class AudioPlan:
    """Describe the file of each track; row i of every array is track i."""

    format: NDArray[np.str_]
    """(T,) a key of FORMATS."""
    rate: NDArray[np.int64]
    """(T,) sample rate in Hz."""
    channels: NDArray[np.int64]
    """(T,) 1 or 2."""
    seconds: NDArray[np.float64]
    """(T,) length in seconds, 10 to 30, mostly below 20."""
    fate: NDArray[np.str_]
    """(T,) good, mislabelled, unlisted (not in the manifest, no file) or a key of BAD."""
    path: pa.Array
    """(T,) path relative to the corpus: audio/<artist>/<track>.<suffix>."""


@dataclass(frozen=True)
class Piece:
    """Describe one file to write, as sent to a worker process."""

    track: int
    path: Path
    seed: int
    style: NDArray[np.float64]
    key: int
    format: str
    rate: int
    channels: int
    seconds: float
    fate: str


def plan(settings: DemoSettings, artist: NDArray[np.int32]) -> AudioPlan:
    """Choose every track's file; the number of files of each fate is exact."""
    rng = generator(settings.seed, "files")
    count = settings.tracks
    fate = _fates(settings, rng)
    formats = rng.choice(list(FORMATS), count, p=list(FORMATS.values()))
    formats = np.where((formats == "MP3") & ("MP3" not in soundfile.available_formats()), "FLAC", formats)
    formats = np.where(np.isin(fate, list(BAD)), "FLAC", formats)
    lies = np.select([formats == name for name in MISLABELLED], list(MISLABELLED.values()), "")
    suffix = np.select(
        [fate == "mislabelled", fate == "text", fate == "random_bytes"], [lies, "mp3", "ogg"], np.char.lower(formats)
    )
    folders = artist_ids(settings.artist_count).take(pa.array(artist))
    names = pc.binary_join_element_wise(track_ids(count), pa.array(suffix), ".")
    return AudioPlan(
        format=formats,
        rate=rng.choice(list(RATES), count, p=list(RATES.values())),
        channels=np.where(rng.random(count) < STEREO, 2, 1),
        seconds=np.round(10 + 20 * rng.beta(1.2, 3.0, count), 3),
        fate=fate,
        path=pc.binary_join_element_wise("audio", folders, names, "/"),
    )


def write_piece(piece: Piece) -> None:
    """Render and encode one track's file, with its fault if it has one."""
    piece.path.parent.mkdir(parents=True, exist_ok=True)
    rng = generator(piece.seed, "sound", piece.track)
    if piece.fate == "text":
        piece.path.write_text("This is a letter to the librarian and not a piece of music.\n" * 40)
    elif piece.fate == "random_bytes":
        piece.path.write_bytes(rng.integers(0, 128, 20_000, dtype=np.uint8).tobytes())
    elif piece.fate == "empty":
        piece.path.write_bytes(b"")
    elif piece.fate == "silent":
        _encode(piece, np.zeros(int(piece.rate * piece.seconds), dtype=np.float32), rng)
    elif piece.fate == "too_short":
        _encode(piece, render(piece.style, piece.key, piece.rate, rng.uniform(0.5, 2.8), rng), rng)
    elif piece.fate != "missing":
        _encode(piece, render(piece.style, piece.key, piece.rate, piece.seconds, rng), rng)
    if piece.fate == "cut_header":
        piece.path.write_bytes(piece.path.read_bytes()[:30])


def _encode(piece: Piece, mono: NDArray[np.float32], rng: np.random.Generator) -> None:
    samples = mono[:, None]
    if piece.channels == 2:
        side = np.float32(rng.uniform(-0.5, 0.5))
        samples = np.stack([mono * (1 + side), mono * (1 - side)], axis=1) / np.float32(1.5)
    with soundfile.SoundFile(
        str(piece.path),
        "w",
        samplerate=piece.rate,
        channels=piece.channels,
        format=piece.format,
        subtype=SUBTYPES[piece.format],
    ) as file:
        for start in range(
            0, len(samples), piece.rate
        ):  # one second each: libsndfile's Ogg encoder crashes on long blocks
            file.write(samples[start : start + piece.rate])


def _fates(settings: DemoSettings, rng: np.random.Generator) -> NDArray[np.str_]:
    kinds = list(BAD)
    unlisted = round(settings.without_audio * settings.tracks)
    bad = round(settings.bad_audio * settings.tracks)
    mislabelled = round(settings.mislabelled_audio * settings.tracks)
    words = ["unlisted"] * unlisted + [kinds[n % len(kinds)] for n in range(bad)] + ["mislabelled"] * mislabelled
    fate = np.full(settings.tracks, "good", dtype="<U12")
    place = rng.permutation(settings.tracks)[: len(words)]
    fate[place] = words[: len(place)]
    return fate
