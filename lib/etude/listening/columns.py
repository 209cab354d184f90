"""Which column of a file holds what: by the settings, or guessed from the file's own names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.config.listening import ColumnRef
from etude.errors import DataCheckError, SettingsError
from etude.listening.formats import Columns
from etude.listening.layout import Layout

LOG_SECTION = "listening.columns"
LOG_ROLES = ("user", "track", "play_count", "played_at", "artist", "artist_id", "title", "event")
CATALOGUE_ROLES = ("track", "title", "artist_id", "artist_name", "release_year", "tags.0", "tag_weights.0", "audio")

_TRACK = (
    "track_id", "song_id", "item_id", "trackid", "songid", "itemid", "recording_id", "recording_mbid", "track_mbid",
    "music_id", "piece_id", "track", "song", "item", "piece",
)  # fmt: skip
_TITLE = ("title", "track_name", "track_title", "song_title", "song_name", "song_title", "track", "song")
_ARTIST = ("artist_name", "artist", "artistname", "performer", "band")
_ARTIST_ID = ("artist_id", "artistid", "artist_mbid")
_LOG_NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        "user_id", "userid", "user", "uid", "username", "user_name", "listener_id", "listener", "member_id",
        "learner_id", "learner", "student_id", "student", "customer_id", "account_id",
    ),
    "track": _TRACK,
    "play_count": (
        "play_count", "playcount", "plays", "listen_count", "listens", "count", "n_plays", "num_plays", "times_played",
        "times", "n",
    ),
    "played_at": (
        "played_at", "timestamp", "ts", "listened_at", "event_time", "played_time", "play_time", "datetime",
        "date_time", "time", "utc_time", "date", "created_at", "started_at",
    ),
    "artist": _ARTIST,
    "artist_id": _ARTIST_ID,
    "title": _TITLE,
    "event": ("event_id", "eventid", "event_uuid"),
}  # fmt: skip
_CATALOGUE_NAMES: dict[str, tuple[str, ...]] = {
    "track": _TRACK,
    "title": _TITLE,
    "artist_id": _ARTIST_ID,
    "artist_name": _ARTIST,
    "release_year": ("release_year", "year", "released", "year_of_release"),
    "tags.0": ("tags", "tag", "genres", "genre", "terms", "styles", "style"),
    "tag_weights.0": ("tag_weights", "tag_weight", "tag_count", "tag_counts", "terms_freq"),
    "audio": ("audio_path", "audio_uri", "audio", "audio_file"),
}
TELLING = ("played_at", "play_count", "event")
"""Roles that decide what a log's rows mean: with one more or one less, the same row would be another event."""

_REQUIRED = {"log": ("user", "track"), "catalogue": ("track",)}
_NOT_IDS = ("track", "song", "item", "piece")


@dataclass(frozen=True)
class Wanted:
    """What is asked of a set of files: roles with their columns, given by settings or preset, or guessed."""

    section: str
    """The setting's name, for messages: `listening.columns` or `catalogue.sources[...].columns`."""
    columns: Columns
    guessed: bool = False
    """Whether the columns were found by the names in the file."""
    lenient: bool = False
    """Columns need not be in the files' first lines (JSON, whose records may leave keys out)."""
    seen_before: bool = False
    """Whether earlier batches were read with success: then it is the data that has changed, not the settings."""
    keyed: bool = False
    """Whether a user key is set: no message then repeats what may be a record instead of column names."""
    overlooked: Mapping[str, str] = field(default_factory=dict)
    """Roles of `TELLING` that the settings leave out, with the columns that look like them."""


def wanted_columns(
    section: str,
    kind: str,
    columns: Columns,
    first: Layout,
    lenient: bool,
    seen_before: bool = False,
    keyed: bool = False,
) -> Wanted:
    """The columns that are given or, where none is, those that the first file's names suggest.

    Args:
        section: the setting's name, for messages.
        kind: log or catalogue.
        columns: what settings and preset name.
        first: the layout of the first file.
        lenient: see Wanted.
        seen_before: see Wanted.
        keyed: see Wanted.

    Raises:
        SettingsError: a role that can't be done without is neither given nor found (DataCheckError if seen before).
    """
    chosen = columns or guess(first.names, kind)
    lacking = _lacking(chosen, kind)
    if lacking and columns:
        text = "needed where other columns are named"
        raise SettingsError(f"{section}.{lacking[0]}: {text}; the file has {_shown(first, keyed)}")
    if lacking:
        text = _not_guessed(section, lacking, chosen, first, keyed)
        raise DataCheckError(text) if seen_before else SettingsError(text)
    overlooked = _overlooked(chosen, first) if kind == "log" else {}
    return Wanted(section, dict(chosen), not columns, lenient, seen_before, keyed, overlooked)


def _not_guessed(section: str, lacking: Sequence[str], found: Columns, first: Layout, keyed: bool) -> str:
    """What to set where guessing found only some of the columns."""
    roles, settings = " or the ".join(lacking), " and ".join(f"{section}.{role}" for role in lacking)
    text = f"no column looks like the {roles}; set {settings} to one of {_shown(first, keyed)}"
    if not found or _hidden(first, keyed):
        return text
    others = " ".join(shlex.quote(f"{section}.{role}={column}") for role, column in found.items())
    return f"{text}; where one column is named none is guessed, so name these too: {others}"


def _overlooked(columns: Mapping[str, ColumnRef], layout: Layout) -> dict[str, str]:
    """Roles of `TELLING` that `columns` lacks, and the columns, of those it leaves aside, that look like them."""
    places = {_position(ref, layout) for ref in columns.values()}
    rest = [name for place, name in enumerate(layout.names) if place not in places]
    return {role: str(name) for role, name in guess(rest, "log").items() if role in TELLING and role not in columns}


def resolve(wanted: Wanted, layouts: Mapping[str, Layout]) -> dict[str, dict[str, int | str]]:
    """For each file the place of every role: a position, or in JSON a key.

    Args:
        wanted: what is asked.
        layouts: file name -> its layout.

    Raises:
        SettingsError: no file has what is asked: the settings are wrong.
        DataCheckError: some files have it and others don't, or earlier batches had: the data has changed its shape.
            Also where columns are guessed and a file has one of `TELLING` that the first file lacks.
    """
    places: dict[str, dict[str, int | str]] = {}
    wrong: dict[str, str] = {}
    for name, layout in sorted(layouts.items()):
        found = _resolve_one(wanted, layout)
        if isinstance(found, str):
            wrong[name] = found
        else:
            places[name] = found
    if not wrong:
        _check_nothing_more(wanted, layouts)
        return places
    name, text = next(iter(wrong.items()))
    others = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    if places or wanted.seen_before:
        raise DataCheckError(f"{name}{others}: {text}; {'other' if places else 'earlier'} files have it")
    raise SettingsError(f"{name}{others}: {text}")


def _check_nothing_more(wanted: Wanted, layouts: Mapping[str, Layout]) -> None:
    """A guess goes by the first file; one that would be guessed otherwise must not be read in silence."""
    if not wanted.guessed or wanted.section != LOG_SECTION:
        return
    for name, layout in sorted(layouts.items()):
        for role, column in _overlooked(wanted.columns, layout).items():
            raise DataCheckError(
                f"{name}: its column {column} looks like the {role}, and the first file has none; "
                f"name the columns in {wanted.section}, or give these files a listening.source of their own"
            )


def check_same_roles(wanted: Wanted, earlier: Mapping[str, str]) -> None:
    """A later batch of a log must mean the same as the earlier ones.

    Args:
        wanted: what this batch's columns are taken for.
        earlier: the same of an earlier batch, role -> column.

    Raises:
        DataCheckError: one of `TELLING` has come or gone.
    """
    for role in TELLING:
        there, here = earlier.get(role), wanted.columns.get(role)
        if (there is None) == (here is None):
            continue
        text = f"{there} as {role}, this one has none" if here is None else f"no {role}, this one has {here}"
        raise DataCheckError(
            f"{wanted.section}.{role}: earlier batches of this log had {text}: its rows would not mean the same; if "
            "that is meant, give it another listening.source"
        )


def _resolve_one(wanted: Wanted, layout: Layout) -> dict[str, int | str] | str:
    """Places by role, or what is wrong."""
    places: dict[str, int | str] = {}
    for role, ref in wanted.columns.items():
        position = _position(ref, layout)
        if wanted.lenient and (isinstance(ref, str) or position is not None):
            places[role] = str(ref) if position is None else layout.names[position]
        elif position is None:
            return f"{wanted.section}.{role}={ref}: no such column; the file has {_shown(layout, wanted.keyed)}"
        else:
            places[role] = position
    return places


def _lacking(columns: Mapping[str, ColumnRef], kind: str) -> list[str]:
    """Roles that can't be done without; artist and title together stand for the track."""
    named = "title" in columns and bool({"artist", "artist_name"} & set(columns))
    return [role for role in _REQUIRED[kind] if role not in columns and not (role == "track" and named)]


def guess(names: Sequence[str], kind: str) -> dict[str, ColumnRef]:
    """Roles of columns with well-known names; a column is taken once, by the most telling of its roles.

    >>> guess(["User ID", "song", "listen_count", "mood"], "log")
    {'user': 'User ID', 'track': 'song', 'play_count': 'listen_count'}
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    found: dict[str, ColumnRef] = {}
    for role, aliases in (_LOG_NAMES if kind == "log" else _CATALOGUE_NAMES).items():
        for alias in aliases:
            if alias in plain and plain[alias] not in found.values():
                found[role] = plain[alias]
                break
    artist = "artist" if kind == "log" else "artist_name"
    if artist in found and "title" not in found and _plain(str(found.get("track"))) in _NOT_IDS:
        found["title"] = found.pop("track")  # "artist,track" are two names, not a name and an id
    if "tags.0" not in found:
        found.pop("tag_weights.0", None)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lstrip("#").lower()).strip("_")


def _position(ref: ColumnRef, layout: Layout) -> int | None:
    if isinstance(ref, int):
        return ref if 0 <= ref < layout.width else None
    if ref in layout.names:
        return layout.names.index(ref)
    alike = [n for n, name in enumerate(layout.names) if _plain(name) == _plain(ref)]
    return alike[0] if len(alike) == 1 else None


def _shown(layout: Layout, keyed: bool) -> str:
    """The file's columns for a message.

    Where a file has no header its first record stands in the place of the names. So none is repeated under a user key,
    nor where one of them is no likely name.
    """
    positions = f"(positions 0 to {layout.width - 1})"
    if not layout.names:
        return f"{layout.width} columns without names {positions}"
    if _hidden(layout, keyed):
        return (
            f"{layout.width} columns {positions}, whose names may be somebody's record and are not shown; if the first "
            "line isn't one of column names: header=false, and columns by position"
        )
    return ", ".join(layout.names)


def _hidden(layout: Layout, keyed: bool) -> bool:
    return keyed or any(not name or re.search(r"[\d@]", name) for name in layout.names)
