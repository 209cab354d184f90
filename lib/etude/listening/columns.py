"""Assign a file's columns to roles, by the settings or by guessing from the file's column names."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.config.listening import ColumnRef
from etude.errors import DataCheckError, SettingsError
from etude.listening.formats import Columns
from etude.listening.layout import Layout
from etude.listening.types import fault_of

LOG_SECTION = "listening.columns"
LOG_ROLES = ("user", "track", "play_count", "played_at", "artist", "artist_id", "title", "event")
CATALOGUE_ROLES = ("track", "title", "artist_id", "artist_name", "release_year", "tags.0", "tag_weights.0", "audio")
ALIAS_ROLES = ("alias", "id")

_TRACK = (
    "track_id", "song_id", "item_id", "recording_id", "recording_mbid", "track_mbid", "music_id", "piece_id", "track",
    "song", "item", "piece",
)  # fmt: skip
_TITLE = ("title", "track_name", "track_title", "song_title", "song_name", "track", "song")
_ARTIST = ("artist_name", "artist", "performer", "band")
_ARTIST_ID = ("artist_id", "artist_mbid")
_LOG_NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        "user_id", "user", "uid", "user_name", "listener_id", "listener", "member_id", "learner_id", "learner",
        "student_id", "student", "customer_id", "account_id",
    ),
    "track": _TRACK,
    "play_count": (
        "play_count", "plays", "listen_count", "listens", "count", "n_plays", "num_plays", "times_played", "times", "n",
    ),
    "played_at": (
        "played_at", "timestamp", "ts", "listened_at", "scrobbled_at", "event_time", "event_timestamp", "played_time",
        "play_time", "play_timestamp", "listen_time", "unix_timestamp", "unix_time", "date_time", "time", "end_time",
        "start_time", "utc_time", "utc", "played_on", "play_date", "listen_date", "date_played", "date", "created_at",
        "started_at", "ended_at",
    ),
    "artist": _ARTIST,
    "artist_id": _ARTIST_ID,
    "title": _TITLE,
    "event": ("event_id", "event_uuid"),
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
_ALIAS_NAMES: dict[str, tuple[str, ...]] = {
    "alias": ("alias", "alias_id", "bad_id", "old_id", "from_id", "merged_id", "from"),
    "id": ("good_id", "new_id", "to_id", "canonical_id", "correct_id", *_TRACK, *_ARTIST_ID, "artist", "id", "to"),
}
_NAMES = {"log": _LOG_NAMES, "catalogue": _CATALOGUE_NAMES, "aliases": _ALIAS_NAMES}
TELLING = ("played_at", "play_count", "event")
"""Roles that determine the meaning of a log's rows: adding or removing one gives the same row another event id."""

_REQUIRED = {"log": ("user", "track"), "catalogue": ("track",), "aliases": ALIAS_ROLES}
_LONGEST_SHOWN = 500  # characters of names in a message
_SIGNS = {"\t": "tabs", " ": "blanks"}
_NOT_IDS = ("track", "song", "item", "piece")


@dataclass(frozen=True)
class Wanted:
    """Hold the column of each role in a set of files, given by settings or preset, or guessed."""

    section: str
    """The setting's name, for messages: `listening.columns` or `catalogue.sources[...].columns`."""
    columns: Columns
    guessed: bool = False
    """Whether the columns were guessed from the names in the file."""
    lenient: bool = False
    """Whether columns may be missing from the files' first lines (JSON records may omit keys)."""
    seen_before: bool = False
    """Whether earlier batches were read successfully; a missing column then means changed data, not wrong settings."""
    keyed: bool = False
    """Whether a user key is set; messages then show no column names, which may be a record's values."""
    overlooked: Mapping[str, str] = field(default_factory=dict)
    """Roles of `TELLING` that the settings omit, with the columns that look like them."""
    times: tuple[str, ...] = ()
    """Columns that hold times and have no role."""


def wanted_columns(
    section: str,
    kind: str,
    columns: Columns,
    first: Layout,
    lenient: bool,
    seen_before: bool = False,
    keyed: bool = False,
) -> Wanted:
    """Return the given columns or, if none is given, those guessed from the first file's names.

    Args:
        section: the setting's name, for messages.
        kind: log, catalogue or aliases.
        columns: columns from settings and preset.
        first: the layout of the first file.
        lenient: see Wanted.
        seen_before: see Wanted.
        keyed: see Wanted.

    Raises:
        SettingsError: a required role is neither given nor found.
        DataCheckError: a required role is not found, though earlier batches were read.
    """
    chosen = columns or guess(list(first.columns.values()), kind)
    if not columns:
        _check_alone(section, chosen, first)
    lacking = _lacking(chosen, kind)
    if lacking and columns:
        text = "required if other columns are set"
        raise SettingsError(f"{section}.{lacking[0]}: {text}; the file has {_shown(first, keyed)}")
    if lacking:
        text = _not_guessed(section, lacking, chosen, first, keyed)
        raise DataCheckError(text) if seen_before else SettingsError(text)
    overlooked = _overlooked(chosen, first) if kind == "log" else {}
    times = tuple(name for name in _unused(chosen, first) if name in first.times)
    return Wanted(section, dict(chosen), not columns, lenient, seen_before, keyed, overlooked, times)


def _check_alone(section: str, chosen: Columns, first: Layout) -> None:
    """Check that no other column has the same name as a guessed one, apart from case and punctuation."""
    for role, ref in chosen.items():
        alike = [name for name in first.columns.values() if _plain(name) == _plain(str(ref))]
        if len(alike) > 1:
            raise SettingsError(
                f"{section}.{role}: the columns {', '.join(alike)} all look like the {role}; set {section} by name, or "
                "by position and header=true if the names are equal"
            )


def _not_guessed(section: str, lacking: Sequence[str], found: Columns, first: Layout, keyed: bool) -> str:
    """Return the message for an incomplete guess, with the settings that complete it."""
    roles, settings = " or the ".join(lacking), " and ".join(f"{section}.{role}" for role in lacking)
    text = f"no column looks like the {roles}; set {settings} to one of {_shown(first, keyed)}"
    if not found or _hidden(first, keyed):
        return text
    others = " ".join(shlex.quote(f"{section}.{role}={column}") for role, column in found.items())
    return f"{text}; if one column is set, none is guessed, so set these too: {others}"


def _overlooked(columns: Mapping[str, ColumnRef], layout: Layout) -> dict[str, str]:
    """Return the roles of `TELLING` that `columns` lacks, with the unused columns that look like them."""
    looks = guess(_unused(columns, layout), "log")
    return {role: str(name) for role, name in looks.items() if role in TELLING and role not in columns}


def _unused(columns: Mapping[str, ColumnRef], layout: Layout) -> list[str]:
    """Return the names of the columns that have no role."""
    places = {_position(ref, layout) for ref in columns.values()}
    return [name for place, name in layout.columns.items() if place not in places]


def resolve(wanted: Wanted, layouts: Mapping[str, Layout]) -> dict[str, dict[str, int | str]]:
    """Find the place of every role in each file: a position, or in JSON a key.

    Args:
        wanted: the column of each role.
        layouts: file name -> its layout.

    Returns:
        File name -> role -> position or key.

    Raises:
        SettingsError: no file has the columns: the settings are wrong.
        DataCheckError: some files lack a column, or earlier batches had it: the data's schema has changed. Also if
            columns are guessed and a file has one of `TELLING` that the first file lacks, and if a column's type
            is of no use for its role.
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
        _check_types(layouts, places)
        return places
    name, text = next(iter(wrong.items()))
    others = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    if places or wanted.seen_before:
        raise DataCheckError(f"{name}{others}: {text}; {'other' if places else 'earlier'} files have it")
    raise SettingsError(f"{name}{others}: {text}")


def _check_nothing_more(wanted: Wanted, layouts: Mapping[str, Layout]) -> None:
    """Check that no file suggests another guess than the first file, on which the guess is based."""
    if not wanted.guessed or wanted.section != LOG_SECTION:
        return
    for name, layout in sorted(layouts.items()):
        for role, column in _overlooked(wanted.columns, layout).items():
            raise DataCheckError(
                f"{name}: column {column} looks like the {role}, but the first file has no such column; "
                f"set the columns in {wanted.section}, or read these files under their own listening.source"
            )


def _check_types(layouts: Mapping[str, Layout], places: Mapping[str, Mapping[str, int | str]]) -> None:
    """Check that every column's type fits its role, as far as the file tells types."""
    for file, place in places.items():
        types = dict(zip(layouts[file].names, layouts[file].types, strict=False))
        for role, at in place.items():
            name = layouts[file].columns.get(at) if isinstance(at, int) else at
            fault = fault_of(role, types[name]) if name in types else None
            if fault is not None:
                raise DataCheckError(f"{file}: column '{name}' {fault}")


def check_same_roles(wanted: Wanted, earlier: Mapping[str, str]) -> None:
    """Check that the rows of a later batch have the same meaning as those of an earlier one.

    Args:
        wanted: this batch's columns.
        earlier: an earlier batch's columns, role -> column.

    Raises:
        DataCheckError: a role of `TELLING` was added or removed.
    """
    for role in TELLING:
        there, here = earlier.get(role), wanted.columns.get(role)
        if (there is None) == (here is None):
            continue
        text = f"{there} as {role}, this one has none" if here is None else f"no {role}, this one has {here}"
        raise DataCheckError(
            f"{wanted.section}.{role}: earlier batches of this log had {text}, so the rows would have another meaning; "
            "read it as before, or remove the earlier batches and read them again so (docs/operating.md, Correcting a "
            "batch); set another listening.source only if this is another log, whose plays count beside"
        )


def _resolve_one(wanted: Wanted, layout: Layout) -> dict[str, int | str] | str:
    """Return the places by role, or the error message."""
    places: dict[str, int | str] = {}
    for role, ref in wanted.columns.items():
        position = _position(ref, layout)
        if wanted.lenient and (isinstance(ref, str) or position is not None):
            places[role] = str(ref) if position is None else layout.columns[position]
        elif position is None:
            many = "several" if layout.names.count(str(ref)) > 1 else "no"
            return f"{wanted.section}.{role}={ref}: {many} such column; the file has {_shown(layout, wanted.keyed)}"
        else:
            places[role] = position
    return places


def _lacking(columns: Mapping[str, ColumnRef], kind: str) -> list[str]:
    """Return the missing required roles; artist and title together can replace the track."""
    named = "title" in columns and bool({"artist", "artist_name"} & set(columns))
    return [role for role in _REQUIRED[kind] if role not in columns and not (role == "track" and named)]


def guess(names: Sequence[str], kind: str) -> dict[str, ColumnRef]:
    """Guess the roles of columns from well-known names; a column gets one role, the first that matches.

    >>> guess(["User ID", "song", "listen_count", "mood"], "log")
    {'user': 'User ID', 'track': 'song', 'play_count': 'listen_count'}
    >>> guess(["userId", "trackId", "playedAtUtc"], "log")
    {'user': 'userId', 'track': 'trackId', 'played_at': 'playedAtUtc'}
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
        plain.setdefault(re.sub(r"(utc|gmt|iso|unix|epoch)$", "", _plain(name)), name)
    found: dict[str, ColumnRef] = {}
    for role, aliases in _NAMES[kind].items():
        for alias in map(_plain, aliases):
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
    """Return a name's letters and digits in lower case: playedAt, played_at and "Played at" are the same name."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _position(ref: ColumnRef, layout: Layout) -> int | None:
    if isinstance(ref, int):
        return ref if 0 <= ref < layout.width else None
    places = [place for place, name in layout.columns.items() if name == ref]
    if not places and _plain(ref):
        places = [place for place, name in layout.columns.items() if _plain(name) == _plain(ref)]
    return places[0] if len(places) == 1 else None


def _shown(layout: Layout, keyed: bool) -> str:
    """Describe the file's columns for a message.

    If a file has no header, its first record is read as the names. So the message omits them if a user key is set or
    one of them is unlikely as a name.
    """
    if layout.width == 1 and not layout.types:
        return "1 column, since no separator splits its first lines: set delimiter (delimiter=space for blanks)"
    sign = _SIGNS.get(layout.delimiter, layout.delimiter)
    separated = "" if layout.types or sign == "," else f", separated by {sign}"
    positions = f"(positions 0 to {layout.width - 1}{separated})"
    if not layout.columns:
        return f"{layout.width} columns without names {positions}"
    if _hidden(layout, keyed):
        return (
            f"{layout.width} columns {positions}, whose names are not shown because they may be a user's record; if "
            "the first line has no column names, set header=false and columns by position"
        )
    return textwrap.shorten(", ".join(layout.columns.values()), _LONGEST_SHOWN, placeholder=" ...")


def _hidden(layout: Layout, keyed: bool) -> bool:
    return keyed or any(not name or re.search(r"[\d@]", name) for name in layout.columns.values())
