"""Which column of a file holds what: by the settings, or guessed from the file's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etude.config.listening import ColumnRef
from etude.errors import DataCheckError, SettingsError
from etude.listening.formats import Columns
from etude.listening.layout import Layout

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


def wanted_columns(
    section: str, kind: str, columns: Columns, first: Layout, lenient: bool, seen_before: bool = False
) -> Wanted:
    """The columns that are given or, where none is, those that the first file's names suggest.

    Args:
        section: the setting's name, for messages.
        kind: log or catalogue.
        columns: what settings and preset name.
        first: the layout of the first file.
        lenient: see Wanted.
        seen_before: see Wanted.

    Raises:
        SettingsError: a role that can't be done without is neither given nor found (DataCheckError if seen before).
    """
    chosen = columns or guess(first.names, kind)
    for role in _lacking(chosen, kind):
        if columns:
            text = "needed where other columns are named"
            raise SettingsError(f"{section}.{role}: {text}; the file has {_shown(first)}")
        text = f"no column looks like the {role}; set {section}.{role} to one of {_shown(first)}"
        raise DataCheckError(text) if seen_before else SettingsError(text)
    return Wanted(section, dict(chosen), not columns, lenient, seen_before)


def resolve(wanted: Wanted, layouts: Mapping[str, Layout]) -> dict[str, dict[str, int | str]]:
    """For each file the place of every role: a position, or in JSON a key.

    Args:
        wanted: what is asked.
        layouts: file name -> its layout.

    Raises:
        SettingsError: no file has what is asked: the settings are wrong.
        DataCheckError: some files have it and others don't, or earlier batches had: the data has changed its shape.
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
        return places
    name, text = next(iter(wrong.items()))
    others = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    if places or wanted.seen_before:
        raise DataCheckError(f"{name}{others}: {text}; {'other' if places else 'earlier'} files have it")
    raise SettingsError(f"{name}{others}: {text}")


def _resolve_one(wanted: Wanted, layout: Layout) -> dict[str, int | str] | str:
    """Places by role, or what is wrong."""
    places: dict[str, int | str] = {}
    for role, ref in wanted.columns.items():
        position = _position(ref, layout)
        if wanted.lenient and (isinstance(ref, str) or position is not None):
            places[role] = str(ref) if position is None else layout.names[position]
        elif position is None:
            return f"{wanted.section}.{role}={ref}: no such column; the file has {_shown(layout)}"
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


def _shown(layout: Layout) -> str:
    """The file's columns for a message.

    Where a file has no header its first record stands in the place of the names: what holds a digit is therefore not
    repeated, since it may be a user's id.
    """
    if not layout.names:
        return f"{layout.width} columns without names (positions 0 to {layout.width - 1})"
    names = [name if name and not re.search(r"\d", name) else f"<column {n}>" for n, name in enumerate(layout.names)]
    hint = ""
    if any(re.search(r"\d", name) or not name for name in layout.names):
        hint = " (if that isn't a line of column names: header=false, and columns by position)"
    return ", ".join(names) + hint
