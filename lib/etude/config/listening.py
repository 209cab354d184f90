"""Settings of ingest: logs and catalogues."""

from typing import Literal

from pydantic import Field

from etude.config.base import Section


class ListeningColumns(Section):
    """Which column of the log holds what: a name, or a 0-based position where the file has no header."""

    user: str | int | None = None
    """User id."""
    track: str | int | None = None
    """Track id."""
    play_count: str | int | None = None
    """Number of plays; absent means 1 a row."""
    played_at: str | int | None = None
    """Time of the play; absent makes the log a snapshot."""
    artist: str | int | None = None
    """Artist name, used for tracks without an id."""
    title: str | int | None = None
    """Track title, used for tracks without an id."""


class ListeningSettings(Section):
    """The listening log and how it is cleaned."""

    path: str | None = None
    """File, folder or URI of the log; may hold {batch_date}."""
    format: Literal["delimited", "parquet", "json", "taste-profile", "lastfm-1k", "edge-events"] = "delimited"
    """File format, or a preset that also names the columns."""
    columns: ListeningColumns = ListeningColumns()
    """Which column holds what."""
    header: bool = True
    """Whether delimited files begin with column names."""
    delimiter: str = ","
    """Field separator of delimited files."""
    min_plays_per_user: int = Field(1, ge=1)
    """k-core: least number of distinct tracks a user must have."""
    min_plays_per_track: int = Field(1, ge=1)
    """k-core: least number of distinct users a track must have."""


class CatalogueSource(Section):
    """One catalogue file."""

    path: str
    """File, folder or URI."""
    format: Literal["delimited", "parquet", "json"] = "delimited"
    """File format."""


class CatalogueSettings(Section):
    """What is known of the tracks; later sources fill what earlier ones lack."""

    sources: tuple[CatalogueSource, ...] = ()
    """Catalogue files in order of trust."""
