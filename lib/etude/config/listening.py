"""Define the settings of ingest: logs and catalogues."""

import codecs
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from etude.config.base import Section

ColumnRef = str | int
_DELIMITERS = {"\\t": "\t", "tab": "\t", "space": " "}
_ASCII = bytes(range(128))


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | int) else value


def _encoding(name: str) -> str:
    """Return the standard name of UTF-8 or of a character set with one byte per character."""
    try:
        found = codecs.lookup(name).name
        pairs = [bytes([byte, after]) for byte in range(128, 256) for after in (0x40, 0xA1)]
        single = _ASCII.decode(found) == _ASCII.decode("ascii") and all(
            len(pair.decode(found, "replace")) == len(pair) for pair in pairs
        )
    except (LookupError, UnicodeError):
        single, found = False, name
    if found != "utf-8" and not single:
        raise ValueError("expected utf-8, or a character set with one byte per character, such as windows-1252")
    return found


ColumnRefs = Annotated[tuple[ColumnRef, ...], BeforeValidator(_as_tuple)]
Delimiter = Annotated[
    str,
    BeforeValidator(lambda v: _DELIMITERS.get(v, v) if isinstance(v, str) else v),
    Field(min_length=1, max_length=1),
]


class ListeningColumns(Section):
    """Map roles to columns of the log, by name or 0-based position.

    If none is set, ingest guesses the columns from their names (user_id, song_id, play_count, timestamp, ...) and logs
    its choice. In JSON the names are the keys of the outermost object.
    """

    user: ColumnRef | None = None
    """User id."""
    track: ColumnRef | None = None
    """Track id; if it is empty, artist and title together identify the track."""
    play_count: ColumnRef | None = None
    """Number of plays in the row; without such a column a row is 1 play."""
    played_at: ColumnRef | None = None
    """Time of the play: ISO 8601 (UTC if it has no offset) or a Unix time in s, ms, us or ns; without it the log is a
    snapshot of cumulative counts."""
    artist: ColumnRef | None = None
    """Artist name, for tracks without an id and tracks whose artist no catalogue names."""
    artist_id: ColumnRef | None = None
    """Artist id, for tracks whose artist id no catalogue has."""
    title: ColumnRef | None = None
    """Track title, for tracks without an id and tracks whose title no catalogue has."""
    event: ColumnRef | None = None
    """The log's own event id, if it has one; ingest then detects repeats by it."""


class FileSettings(Section):
    """Describe the format of delimited files; json and parquet use only the settings that say so."""

    may_be_empty: ClassVar[tuple[str, ...]] = ("quote",)

    header: bool | None = None
    """Whether files begin with column names; null: false if columns are positional or the preset has no header,
    otherwise true."""
    delimiter: Delimiter | None = None
    """Field separator (`tab` for a tab, `space` for a blank); null: whichever of tab , ; | splits the first lines into
    equal numbers of columns."""
    quote: str | None = Field(None, max_length=1)
    """Quote character, doubled inside quoted fields; empty: none; null: `"`, but none if the separator is a tab
    and no column has all its values in quotes."""
    multi_line: bool = False
    """Whether quoted fields may hold line breaks (one task then reads a whole file)."""
    ragged: bool = False
    """Whether rows may omit their last columns; otherwise such rows are rejected as wrong_columns."""
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    """Character set: utf-8, or one with a byte per character, such as windows-1252 or iso-8859-15. Rows with invalid
    bytes are rejected."""
    max_record_bytes: int = Field(1 << 20, ge=1024, le=1 << 30)
    """Largest number of bytes of a line; longer lines are rejected as too_long (json too)."""
    null_words: tuple[str, ...] = ("\\N", "NULL", "null", "NaN", "nan", "None")
    """Values that mean that a column has none, in all formats."""


class ListeningSettings(FileSettings):
    """Configure the listening log and its cleaning."""

    path: str | None = None
    """File, folder, glob or URI of the log; may hold {batch_date}."""
    source: str = Field("log", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the log in `plays` and `rejects`; part of every event id."""
    format: Literal["delimited", "parquet", "json", "taste-profile", "lastfm-1k", "edge-events"] = "delimited"
    """File format, or a preset that also sets the columns: taste-profile (user, song, count; tabs), lastfm-1k (user,
    time, artist id, artist, track id, title; tabs), edge-events (JSON lines with event_id, user_id, track_id, played_at
    and, if known, artist_id, artist_name and title)."""
    columns: ListeningColumns = ListeningColumns()
    """Columns of the log."""
    count_rows: bool = False
    """Whether each row of a batch is a play, in a log without counts. false: equal rows (user, track and, if there is
    one, time) count once, and the further ones are rejected as duplicate. Of a log without times, each batch holds all
    plays so far; if it holds those of a day, put it into a folder such as date=2026-01-31, whose name is then the time.
    """
    timestamp_format: str | None = None
    """Spark pattern of played_at, such as dd/MM/yyyy HH:mm; null: ISO 8601 or a Unix time."""
    max_play_count: int = Field(1_000_000, ge=1)
    """Largest play_count of a row; rows above it are rejected as absurd_count."""
    earliest: date = date(2002, 10, 1)
    """First day on which a play may lie; earlier ones, such as those of 1970-01-01, are rejected as early_timestamp.
    The default is ListenBrainz' limit, the month in which Audioscrobbler began."""
    future_days: int = Field(1, ge=0)
    """Days by which a play may lie after the time at which its file was first read; later plays are rejected as
    future_timestamp."""
    max_plays_per_user: int | None = Field(None, ge=1)
    """Largest number of plays of a user in one batch; all plays of a user above it are rejected as bot."""
    max_plays_per_user_day: int | None = Field(None, ge=1)
    """Largest number of plays of a user on one UTC day of a batch; all plays of a day above it are rejected as bot."""
    max_reject_share: float = Field(1.0, ge=0, le=1)
    """Largest share of a batch's rows that may be rejected (duplicates excepted); above it the run fails with exit
    status 4."""
    dedup_days: int = Field(365, ge=0)
    """Days before and after the batch date that are searched for a log's own event ids. Repeats with the same time are
    found in any batch. An id that recurs outside this range with another time counts as a new play."""
    min_plays_per_user: int = Field(1, ge=1)
    """k-core: smallest number of distinct tracks per user."""
    min_plays_per_track: int = Field(1, ge=1)
    """k-core: smallest number of distinct users per track."""
    sample_users: int | None = Field(None, ge=1)
    """Number of users to draw by seed from the k-core, after which the k-core is taken again; null: all."""
    max_tracks: int | None = Field(None, ge=1)
    """Number of tracks to draw by seed from those that the (sampled) users played, after which the k-core is taken
    again; null: all."""
    seed: int = 1
    """Seed of sample_users and max_tracks."""


class CatalogueColumns(Section):
    """Map roles to columns of a catalogue, by name or 0-based position; ingest guesses by name if none is set."""

    track: ColumnRef | None = None
    """Track id; if it is empty, artist and title together identify the track."""
    title: ColumnRef | None = None
    """Title."""
    artist_id: ColumnRef | None = None
    """Artist id; if no source has one, it is derived from the normalised artist name."""
    artist_name: ColumnRef | None = None
    """Artist name."""
    release_year: ColumnRef | None = None
    """Year of release; 0 means unknown."""
    tags: ColumnRefs = ()
    """One or several columns with tags or genres. A track may also have several rows, one per tag."""
    tag_weights: ColumnRefs = ()
    """Columns of weights or counts, one per column of tags, in the same order; empty: all tags have equal weight."""
    audio: ColumnRef | None = None
    """Path of the audio file, relative to the catalogue file, or a URI."""


class ListingSource(FileSettings):
    """Describe files beside the log, which every run reads whole."""

    path: str
    """File, folder, glob or URI."""
    name: str | None = None
    """Name in logs and rejects; null: the file's name without its suffix."""
    format: Literal["delimited", "parquet", "json"] = "delimited"
    """File format."""

    @property
    def known_as(self) -> str:
        """Return its name if set, otherwise the file's name without suffixes."""
        return self.name or PurePosixPath(self.path.rstrip("/")).name.split(".")[0]


class CatalogueSource(ListingSource):
    """Describe one catalogue."""

    columns: CatalogueColumns = CatalogueColumns()
    """Columns of the catalogue."""
    tag_delimiter: str | None = Field(None, min_length=1)
    """Separator of the tags (and their weights) inside a cell; null: a cell holds one tag."""


class AliasColumns(Section):
    """Map roles to columns of a list of aliases, by name or 0-based position; ingest guesses by name if none is set."""

    alias: ColumnRef | None = None
    """The id that is no longer, or never was, the right one."""
    id: ColumnRef | None = None
    """The id that it stands for."""


class AliasSource(ListingSource):
    """Describe one list of aliases."""

    of: Literal["track", "artist"] = "track"
    """Whose ids they are."""
    columns: AliasColumns = AliasColumns()
    """Columns of the list."""


_Source = TypeVar("_Source", bound=ListingSource)


def _unlike(sources: tuple[_Source, ...]) -> tuple[_Source, ...]:
    names = [source.known_as for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several sources have the name {twice[0]}; give each its own name (name: ...)")
    return sources


class CatalogueSettings(Section):
    """Configure the catalogues of tracks; later sources fill the gaps of earlier ones."""

    sources: Annotated[tuple[CatalogueSource, ...], AfterValidator(_unlike)] = ()
    """Catalogues, the most trusted first."""
    aliases: Annotated[tuple[AliasSource, ...], AfterValidator(_unlike)] = ()
    """Lists of ids that stand for other ids, such as those of merged tracks. Plays of an alias count for its track, and
    only the track is recommended. If none is set, the aliases of earlier runs stay."""
    only_played: bool = False
    """Whether tracks that nobody has played are left out; otherwise `tracks` holds the union of log and catalogues."""
    max_tags: int = Field(100, ge=1)
    """Largest number of tags kept per track, the heaviest first."""


def of_batch(path: str, batch_date: date) -> str:
    """Return the path of a batch's log: `path` with {batch_date} filled in."""
    return path.replace("{batch_date}", batch_date.isoformat())
