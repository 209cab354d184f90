"""Build the whole corpus in a folder, atomically, with the ground truth.

catalogue/catalogue.csv, library.csv   metadata of the pieces (`catalogue`)
plays/plays-YYYY-MM.csv                the listening log (`logs`)
manifest.csv, audio/<artist>/          the sound (`files`)
expected.json                          the rows and files that ingest and mel must keep and refuse, by reason
truth/tracks.parquet, learners.parquet the planted latent variables; no job may read them
corpus.json                            version and settings; written last
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from etude.config.demo import DemoSettings
from etude.demo import VERSION
from etude.demo.catalogue import write_catalogues, write_truth
from etude.demo.faults import FAULTS, refused
from etude.demo.files import BAD, AudioPlan, Piece, plan, write_piece
from etude.demo.latent import Learners, Tracks, plant_learners, plant_tracks
from etude.demo.listens import chunks
from etude.demo.logs import LogWriter
from etude.demo.names import track_ids
from etude.errors import SettingsError
from etude.logs import job_logger, progress
from etude.machine import cores

_README = """This corpus is synthetic: pieces, composers, learners and their plays were invented by a program from a
seed, and the sound was computed. Faulty rows and files are planted on purpose; expected.json counts them.
"""
_BATCH = 512


def build(out: Path, settings: DemoSettings, force: bool = False) -> bool:
    """Build the corpus at `out`, atomically: the folder appears only when it is complete.

    Args:
        out: folder of the corpus; created if missing.
        settings: settings of the corpus.
        force: rebuild the corpus even if the same one exists.

    Returns:
        Whether the corpus was built; False if the same corpus (version and settings) already exists.

    Raises:
        SettingsError: `out` holds something that isn't a corpus. A corpus of any version and settings is replaced,
            because it can be rebuilt; other files can't.
    """
    identity = {"version": VERSION, "settings": settings.model_dump(mode="json", exclude={"processes"})}
    found = _identity_of(out)
    if found == identity and not force:
        return False
    if found is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out}: not empty and not a corpus; choose another folder or empty this one")
    unfinished = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex[:8]}.unfinished")
    unfinished.mkdir(parents=True)
    try:
        _fill(unfinished, settings)
        (unfinished / "corpus.json").write_text(_json(identity))
        _put_in_place(unfinished, out.absolute())
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def _fill(folder: Path, settings: DemoSettings) -> None:
    tracks, learners = plant_tracks(settings), plant_learners(settings)
    files = plan(settings, tracks.artist)
    expected: dict[str, Any] = {"catalogue": write_catalogues(folder / "catalogue", settings, tracks)}
    write_truth(folder / "truth", settings, tracks, learners, pa.array(files.fate))
    expected["plays"] = _write_plays(folder / "plays", settings, tracks, learners)
    if settings.audio:
        expected["audio"] = _write_audio(folder, settings, tracks, files)
    (folder / "expected.json").write_text(_json(expected))
    (folder / "README.txt").write_text(_README)


def _write_plays(folder: Path, settings: DemoSettings, tracks: Tracks, learners: Learners) -> dict[str, Any]:
    total, pieces = chunks(settings, tracks, learners)
    pairs, users = 0, 0
    played = np.zeros(settings.tracks, dtype=bool)
    with LogWriter(folder, settings) as log:
        for number, plays in enumerate(progress(pieces, "plays", total, job_logger())):
            log.write(plays, number)
            played[plays.track] = True
            pairs += len(np.unique(plays.user * settings.tracks + plays.track))
            users += len(np.unique(plays.user))
    return {
        "rows": log.good_rows + sum(log.planted.values()),
        "kept": log.good_rows + sum(count for kind, count in log.planted.items() if FAULTS[kind].reason is None),
        "refused": refused(log.planted),
        "planted": dict(log.planted),
        "pairs": pairs,
        "users": users,
        "tracks_played": int(played.sum()),
        "tracks_without_plays": int(settings.tracks - played.sum()),
    }


def _write_audio(folder: Path, settings: DemoSettings, tracks: Tracks, files: AudioPlan) -> dict[str, Any]:
    listed = files.fate != "unlisted"
    manifest = pa.table({"track_id": track_ids(settings.tracks), "audio_path": files.path})
    csv.write_csv(manifest.filter(pa.array(listed)), folder / "manifest.csv")
    pieces = _pieces(folder, settings, tracks, files)
    for _ in progress(_written(pieces, settings.processes), "audio", int(listed.sum()), job_logger()):
        pass
    planted = Counter(files.fate.tolist())
    reasons: Counter[str] = Counter()
    for kind, reason in BAD.items():
        reasons[reason] += planted[kind]
    return {
        "listed": int(listed.sum()),
        "usable": planted["good"] + planted["mislabelled"],
        "refused": {reason: count for reason, count in reasons.items() if count},
        "planted": dict(planted),
        "formats": dict(Counter(files.format[np.isin(files.fate, ("good", "mislabelled"))].tolist())),
        "rates": {str(rate): count for rate, count in Counter(files.rate[listed].tolist()).items()},
    }


def _pieces(folder: Path, settings: DemoSettings, tracks: Tracks, files: AudioPlan) -> Iterator[Piece]:
    for track in np.flatnonzero(files.fate != "unlisted").tolist():
        yield Piece(
            track=track,
            path=folder / files.path[track].as_py(),
            seed=settings.seed,
            style=tracks.style[track],
            key=int(tracks.key[track]),
            format=str(files.format[track]),
            rate=int(files.rate[track]),
            channels=int(files.channels[track]),
            seconds=float(files.seconds[track]),
            fate=str(files.fate[track]),
        )


def _written(pieces: Iterator[Piece], processes: int | None) -> Iterator[None]:
    """Write the pieces, yielding once per piece; spawn the processes, because forking a threaded parent can hang."""
    workers = processes or cores()
    if workers == 1:
        yield from map(write_piece, pieces)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        while batch := list(islice(pieces, _BATCH)):  # map would queue all 400,000 pieces at once
            yield from pool.map(write_piece, batch, chunksize=8)


def _identity_of(out: Path) -> dict[str, Any] | None:
    """Return version and settings of the corpus at `out`, or None if there is no corpus."""
    try:
        found = json.loads((out / "corpus.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() == {"version", "settings"} else None


def _put_in_place(finished: Path, out: Path) -> None:
    """Rename `finished` to `out`; delete the previous content only after that."""
    old = finished.with_name(finished.name.replace(".unfinished", ".old"))
    if out.exists():
        out.rename(old)
    finished.rename(out)
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
