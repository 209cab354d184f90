"""Settings of ingest: logs and catalogues."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from etude.config.base import Section

ColumnRef = str | int
_DELIMITERS = {"\\t": "\t", "tab": "\t"}


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | int) else value


ColumnRefs = Annotated[tuple[ColumnRef, ...], BeforeValidator(_as_tuple)]
Delimiter = Annotated[
    str,
    BeforeValidator(lambda v: _DELIMITERS.get(v, v) if isinstance(v, str) else v),
    Field(min_length=1, max_length=1),
]


class ListeningColumns(Section):
    """Which column of the log holds what: a name, or a 0-based position.

    Where none is set, ingest goes by the names of the file's columns (user_id, song_id, play_count, timestamp, ...) and
    logs what it took for what. In JSON the names are the keys of the outermost object.
    """

    user: ColumnRef | None = None
    """User id."""
    track: ColumnRef | None = None
    """Track id; where it is empty, artist and title together name the track."""
    play_count: ColumnRef | None = None
    """Number of plays the row stands for; without such a column a row is 1 play."""
    played_at: ColumnRef | None = None
    """Time of the play: ISO 8601 (UTC unless it says otherwise) or a Unix time in s, ms, us or ns; without it the log
    is a snapshot of counts so far."""
    artist: ColumnRef | None = None
    """Artist name: names tracks without an id, and tracks that no catalogue names."""
    artist_id: ColumnRef | None = None
    """Artist id, for tracks that no catalogue knows."""
    title: ColumnRef | None = None
    """Track title: names tracks without an id, and tracks that no catalogue names."""
    event: ColumnRef | None = None
    """The log's own id of the event, where it has one: repeats are then known by it."""


class FileSettings(Section):
    """How the rows of delimited files look (ignored for parquet; json uses encoding only)."""

    header: bool | None = None
    """Whether files begin with column names; null: no where columns are given by position or a preset has none, else
    yes."""
    delimiter: Delimiter | None = None
    """Field separator (`tab` for a tab); null: the one of tab , ; | that the first line holds most of."""
    quote: str | None = Field(None, max_length=1)
    """Quote character, doubled inside quoted fields; empty: none; null: `"`, but none where the separator is a tab."""
    multi_line: bool = False
    """Whether quoted fields may hold line breaks (such files are read by one task each)."""
    ragged: bool = False
    """Whether rows may leave out their last columns; otherwise such rows are rejected as wrong_columns."""
    encoding: Literal["utf-8", "iso-8859-1"] = "utf-8"
    """Character set; bytes that aren't valid in it make the row a reject."""


class ListeningSettings(FileSettings):
    """The listening log and how it is cleaned."""

    path: str | None = None
    """File, folder, glob or URI of the log; may hold {batch_date}."""
    source: str = Field("log", pattern=r"[A-Za-z0-9._-]{1,64}")
    """Name of the log in plays and rejects; part of what tells events apart."""
    format: Literal["delimited", "parquet", "json", "taste-profile", "lastfm-1k", "edge-events"] = "delimited"
    """File format, or a preset that also names the columns: taste-profile (user, song, count; tabs), lastfm-1k (user,
    time, artist id, artist, track id, title; tabs), edge-events (JSON lines with event_id, user_id, track_id, played_at
    and, where known, artist_id, artist_name and title)."""
    columns: ListeningColumns = ListeningColumns()
    """Which column holds what."""
    timestamp_format: str | None = None
    """Spark pattern of played_at, such as dd/MM/yyyy HH:mm; null: ISO 8601 or a Unix time."""
    max_play_count: int = Field(1_000_000, ge=1)
    """A row that claims more plays is rejected as absurd_count."""
    future_days: int = Field(1, ge=0)
    """Days by which a play may lie after the moment its file was first taken; what lies later is rejected as
    future_timestamp."""
    max_plays_per_user: int | None = Field(None, ge=1)
    """Most plays a user may have in one batch; all plays of a user with more are rejected as a bot's."""
    max_plays_per_user_day: int | None = Field(None, ge=1)
    """Most plays a user may have on one UTC day of a batch; all plays of a day with more are rejected as a bot's."""
    max_reject_share: float = Field(1.0, ge=0, le=1)
    """Share of a batch's rows that may be rejected (duplicates aside) before the run fails with exit status 4."""
    dedup_days: int = Field(365, ge=0)
    """Days before and after the batch date in which a log's own event ids are looked for at any time. Repeats at the
    same time are found however far apart their batches; an id that comes again with another time, farther apart than
    this, counts."""
    min_plays_per_user: int = Field(1, ge=1)
    """k-core: least number of distinct tracks a user must have."""
    min_plays_per_track: int = Field(1, ge=1)
    """k-core: least number of distinct users a track must have."""
    sample_users: int | None = Field(None, ge=1)
    """Keep this many users, drawn by seed from those of the k-core; the k-core is taken again."""
    max_tracks: int | None = Field(None, ge=1)
    """Keep this many tracks, drawn by seed from those the (sampled) users played; the k-core is taken again."""
    seed: int = 1
    """Seed of sample_users and max_tracks."""


class CatalogueColumns(Section):
    """Which column of a catalogue holds what: a name, or a 0-based position; guessed by name where none is set."""

    track: ColumnRef | None = None
    """Track id; where it is empty, artist and title together name the track."""
    title: ColumnRef | None = None
    """Title."""
    artist_id: ColumnRef | None = None
    """Artist id; where no source has one, the normalised artist name stands for it."""
    artist_name: ColumnRef | None = None
    """Artist name."""
    release_year: ColumnRef | None = None
    """Year of release; 0 means unknown."""
    tags: ColumnRefs = ()
    """One or several columns with tags or genres. A track may also have several rows, one a tag."""
    tag_weights: ColumnRefs = ()
    """For each column of tags, the column of their weights or counts, in the same order; empty: all weigh the same."""
    audio: ColumnRef | None = None
    """Path of the audio file, relative to the catalogue file, or a URI."""


class CatalogueSource(FileSettings):
    """One catalogue."""

    path: str
    """File, folder, glob or URI."""
    name: str = ""
    """Name in logs and rejects; empty: the file's name without its suffix."""
    format: Literal["delimited", "parquet", "json"] = "delimited"
    """File format."""
    columns: CatalogueColumns = CatalogueColumns()
    """Which column holds what."""
    tag_delimiter: str | None = Field(None, min_length=1)
    """What separates the tags (and their weights) inside a cell; null: a cell holds one tag."""

    @property
    def known_as(self) -> str:
        """The name it goes by: its own, or its file's without the suffixes."""
        return self.name or PurePosixPath(self.path.rstrip("/")).name.split(".")[0]


def _unlike(sources: tuple[CatalogueSource, ...]) -> tuple[CatalogueSource, ...]:
    names = [source.known_as for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several sources go by the name {twice[0]}; give them names of their own (name: ...)")
    return sources


class CatalogueSettings(Section):
    """What is known of the tracks; later sources fill what earlier ones lack."""

    sources: Annotated[tuple[CatalogueSource, ...], AfterValidator(_unlike)] = ()
    """Catalogues in order of trust."""
    only_played: bool = False
    """Leave out tracks that nobody has played; otherwise `tracks` holds the union of log and catalogues."""
    max_tags: int = Field(100, ge=1)
    """Most tags kept of a track, the heaviest first."""
