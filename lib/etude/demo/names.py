"""Generate ids, names, titles and tags of the conservatoire, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etude.demo.latent import STYLE, Tracks


def _words(text: str) -> list[str]:
    return text.split("|") if "|" in text else text.split()


_GIVEN = _words(
    "Ada Ambrose Anselm Beatrix Benedek Celia Clovis Corin Dagny Delphine Edda Elior Esme Fabian Fenna Floris Greta "
    "Hadrian Hedda Ilse Ines Isidor Jolan Juno Kasimir Klara Leander Linnea Lorenz Mabel Marius Mirela Nadia Nils "
    "Odile Orlin Petra Quirin Ragna Rosalind Sander Selma Tamsin Teodor Ulla Viggo Wanda Ysolde"
)
_FAMILY_HEADS = _words("Alder Bram Carn Dorn Ester Fal Grim Hart Isk Jarn Kell Lind Mar Nor Ost Pell Quen Ros Sol Tar")
_FAMILY_TAILS = _words(
    "beck bury dale den feld ford gate grove holm hurst land ley lund mark mere moor quist stad vik wick"
)
_FORMS = _words(
    "Arabesque|Bagatelle|Barcarolle|Berceuse|Canon|Caprice|Daily Exercise|Étude|Gigue|Invention|Ländler|Minuet|"
    "Nocturne|Prelude|Romance|Sarabande|Scale Study|Scherzo|Sight-reading Piece|Sonatina|Toccata|Vocalise|Waltz|Warm-up"
)
_TONICS = _words("C|D flat|D|E flat|E|F|F sharp|G|A flat|A|B flat|B")
_EPITHETS = _words("Glass Amber Crooked Silver Sleeping Northern Copper Paper Wandering Quiet Borrowed Winter")
_THINGS = _words("Heron Lantern Staircase Orchard Ferry Clockmaker Weathervane Attic Kite Magpie Harbour Thimble")
TAGS = _words(
    "grade-1 grade-2 grade-3 grade-4 grade-5 grade-6 grade-7 grade-8 audition recital exam duet ensemble accompaniment "
    "improvisation memorisation phrasing counterpoint ornaments polyrhythm left-hand right-hand sight-reading "
    "ear-training transposition competition folk sacred theatre film dance lullaby holiday variations fugue chorale "
    "masterclass summer-school syllabus-a syllabus-b"
)
"""The TAG_COUNT possible tags of tracks, the most common first."""


def ids(prefix: str, count: int, digits: int) -> pa.Array:
    """Build ids as strings: `prefix` and a number from 1 with at least `digits` digits (u000001, u000002, ...)."""
    width = max(digits, len(str(count)))
    numbers = pc.utf8_lpad(pa.array(np.arange(1, count + 1)).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, numbers, "")


def user_ids(count: int) -> pa.Array:
    """Return ids of learners."""
    return ids("u", count, 6)


def track_ids(count: int) -> pa.Array:
    """Return ids of pieces."""
    return ids("t", count, 6)


def artist_ids(count: int) -> pa.Array:
    """Return ids of composers."""
    return ids("a", count, 4)


def artist_names(count: int, rng: np.random.Generator) -> pa.Array:
    """Generate `count` different names; beyond the 19,200 combinations of the lists, append II, III and so on."""
    sizes = (len(_GIVEN), len(_FAMILY_HEADS), len(_FAMILY_TAILS))
    capacity = int(np.prod(sizes))
    order = np.concatenate([rng.permutation(capacity) for _ in range(-(-count // capacity))])[:count]
    given, head, tail = np.unravel_index(order, sizes)
    families = pc.binary_join_element_wise(_pick(_FAMILY_HEADS, head), _pick(_FAMILY_TAILS, tail), "")
    names = pc.binary_join_element_wise(_pick(_GIVEN, given), families, " ")
    round_number = np.arange(count) // capacity
    ordinals = ["", *(" " + "I" * n for n in range(2, int(round_number.max()) + 2))]
    return pc.binary_join_element_wise(names, _pick(ordinals, round_number), "")


def titles(tracks: Tracks, rng: np.random.Generator) -> pa.Array:
    """Generate a title per track, such as `Étude in D minor, Op. 12 No. 3 "The Glass Heron"`, with its key and mode."""
    count = len(tracks.artist)
    modes = (tracks.style[:, STYLE.index("mode")] > 0).astype(int)
    opus = pa.array(rng.integers(1, 60, count)).cast(pa.string())
    number = pa.array(rng.integers(1, 25, count)).cast(pa.string())
    plain = pc.binary_join_element_wise(
        _pick(_FORMS, rng.integers(0, len(_FORMS), count)), " in ", _pick(_TONICS, tracks.key), " ",
        _pick(["minor", "major"], modes), ", Op. ", opus, " No. ", number, "",
    )  # fmt: skip
    nicknames = pc.binary_join_element_wise(
        ' "The ', _pick(_EPITHETS, rng.integers(0, len(_EPITHETS), count)), " ",
        _pick(_THINGS, rng.integers(0, len(_THINGS), count)), '"', "",
    )  # fmt: skip
    with_nickname = pc.binary_join_element_wise(plain, nicknames, "")
    return pc.if_else(pa.array(rng.random(count) < 0.3), with_nickname, plain)


def tag_texts(tracks: Tracks, separator: str) -> pa.Array:
    """Join the tags of each track into one string, the most important first."""
    columns = [
        pa.array(np.where(numbers >= 0, numbers, 0), mask=numbers < 0, type=pa.int64()) for numbers in tracks.tags.T
    ]
    words = [pa.array(TAGS).take(column) for column in columns]
    return pc.binary_join_element_wise(*words, separator, null_handling="skip")


def _pick(words: list[str], numbers: NDArray) -> pa.Array:
    return pa.array(words).take(pa.array(np.asarray(numbers, dtype=np.int64)))
