"""Write the catalogues of the pieces, which overlap and have gaps, and the ground truth.

`catalogue/catalogue.csv` (track_id, title, artist_id, artist_name, release_year, tags separated by `|`) lists every
track but lacks values. `catalogue/library.csv` (code, name, composer_code, composer, published, subjects separated by
`|`; published 0 = unknown) lists about two thirds and fills most of the gaps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from etude.config.demo import DemoSettings
from etude.demo.latent import PARTS, STYLE, Learners, Tracks, generator
from etude.demo.names import artist_ids, artist_names, tag_texts, titles, track_ids, user_ids

TAG_SEPARATOR = "|"
_FILLED = 0.8
_ALSO_LISTED = 0.6


def write_catalogues(folder: Path, settings: DemoSettings, tracks: Tracks) -> dict[str, int]:
    """Write both catalogues; return the number of rows of each, and of values that both lack."""
    rng = generator(settings.seed, "catalogue")
    full = _full(settings, tracks, rng)
    lacks = {name: rng.random(settings.tracks) < share for name, share in _gap_shares(settings).items()}
    gap = np.logical_or.reduce(list(lacks.values()))
    filled = gap & (rng.random(settings.tracks) < _FILLED)
    listed = filled | (~gap & (rng.random(settings.tracks) < _ALSO_LISTED))
    folder.mkdir(parents=True, exist_ok=True)
    first = {name: _without(column, lacks.get(name.partition("_")[0])) for name, column in full.items()}
    csv.write_csv(pa.table(first), folder / "catalogue.csv")
    unknown_year = rng.random(settings.tracks) < 0.1
    second = {
        "code": full["track_id"],
        "name": full["title"],
        "composer_code": full["artist_id"],
        "composer": full["artist_name"],
        "published": pa.array(np.where(unknown_year & ~gap, 0, tracks.year)),
        "subjects": full["tags"],
    }
    csv.write_csv(pa.table(second).filter(pa.array(listed)), folder / "library.csv")
    missing = {f"without_{name}": int((values & ~filled).sum()) for name, values in lacks.items()}
    return {"catalogue_rows": settings.tracks, "library_rows": int(listed.sum()), **missing}


def write_truth(folder: Path, settings: DemoSettings, tracks: Tracks, learners: Learners, fates: pa.Array) -> None:
    """Write the ground truth: `tracks.parquet` and `learners.parquet`, in the order of ids (see `latent`)."""
    folder.mkdir(parents=True, exist_ok=True)
    planted = {
        "track_id": track_ids(settings.tracks),
        "artist_id": artist_ids(settings.artist_count).take(pa.array(tracks.artist)),
        "release_year": pa.array(tracks.year),
        "key": pa.array(tracks.key),
        "popularity": pa.array(tracks.popularity),
        "audio": fates,
        **{name: pa.array(tracks.style[:, place]) for place, name in enumerate(STYLE)},
        **{f"part_{part}": _vectors(tracks.parts[part]) for part in PARTS},
    }
    parquet.write_table(pa.table(planted), folder / "tracks.parquet")
    tastes = {f"taste_{part}": _vectors(learners.parts[part]) for part in PARTS}
    users = {"user_id": user_ids(settings.users), "activity": pa.array(learners.activity), **tastes}
    parquet.write_table(pa.table(users), folder / "learners.parquet")


def _gap_shares(settings: DemoSettings) -> dict[str, float]:
    return {"artist": settings.catalogue_gaps / 3, "release": settings.catalogue_gaps, "tags": settings.catalogue_gaps}


def _full(settings: DemoSettings, tracks: Tracks, rng: np.random.Generator) -> dict[str, pa.Array]:
    artist = pa.array(tracks.artist)
    return {
        "track_id": track_ids(settings.tracks),
        "title": titles(tracks, rng),
        "artist_id": artist_ids(settings.artist_count).take(artist),
        "artist_name": artist_names(settings.artist_count, rng).take(artist),
        "release_year": pa.array(tracks.year),
        "tags": tag_texts(tracks, TAG_SEPARATOR),
    }


def _without(column: pa.Array, lacks: np.ndarray | None) -> pa.Array:
    return column if lacks is None else pc.if_else(pa.array(lacks), pa.scalar(None, column.type), column)


def _vectors(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.asarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
