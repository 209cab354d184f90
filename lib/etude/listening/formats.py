"""Derive the file format and the given columns of a log or a catalogue from settings and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from etude.config.listening import AliasSource, CatalogueSource, ColumnRef, FileSettings, ListeningSettings

Kind = Literal["delimited", "parquet", "json"]
Columns = dict[str, ColumnRef]


@dataclass(frozen=True)
class FileFormat:
    """Describe how to read files; attributes that are None are inferred from each file's first lines."""

    kind: Kind
    header: bool = True
    delimiter: str | None = None
    quote: str | None = None
    multi_line: bool = False
    ragged: bool = False
    encoding: str = "utf-8"
    max_record_bytes: int = 1 << 20
    null_words: tuple[str, ...] = ()
    width: int | None = None
    """Number of columns if known; for ragged files the minimum."""

    @property
    def of_lines(self) -> bool:
        """Return whether each line is a record."""
        return self.kind == "json" or (self.kind == "delimited" and not self.multi_line)


_PRESETS: dict[str, tuple[FileFormat, Columns]] = {
    "taste-profile": (
        FileFormat("delimited", header=False, delimiter="\t", quote="", width=3),
        {"user": 0, "track": 1, "play_count": 2},
    ),
    "lastfm-1k": (
        FileFormat("delimited", header=False, delimiter="\t", quote="", width=6),
        {"user": 0, "played_at": 1, "artist_id": 2, "artist": 3, "track": 4, "title": 5},
    ),
    "edge-events": (
        FileFormat("json"),
        {
            "event": "event_id",
            "user": "user_id",
            "track": "track_id",
            "played_at": "played_at",
            "artist_id": "artist_id",
            "artist": "artist_name",
            "title": "title",
        },
    ),
}


def log_format(settings: ListeningSettings) -> tuple[FileFormat, Columns]:
    """Return the log's file format and the columns from settings or preset (role -> name or 0-based position)."""
    columns = _given(settings.columns.model_dump())
    if settings.format in _PRESETS:
        preset, named = _PRESETS[settings.format]
        columns = {**named, **columns}
        return _with_settings(preset, settings, columns, preset.header), columns
    return _with_settings(FileFormat(_kind(settings.format)), settings, columns), columns


def catalogue_format(source: CatalogueSource) -> tuple[FileFormat, Columns]:
    """Return a catalogue's file format and columns; tags and weights have the roles tags.0, tag_weights.0, tags.1, ...

    Columns that are not set are left out.
    """
    columns = _given(source.columns.model_dump(exclude={"tags", "tag_weights"}))
    columns |= {f"tags.{n}": ref for n, ref in enumerate(source.columns.tags)}
    columns |= {f"tag_weights.{n}": ref for n, ref in enumerate(source.columns.tag_weights)}
    return _with_settings(FileFormat(_kind(source.format)), source, columns), columns


def alias_format(source: AliasSource) -> tuple[FileFormat, Columns]:
    """Return the file format and the given columns of a list of aliases."""
    columns = _given(source.columns.model_dump())
    return _with_settings(FileFormat(_kind(source.format)), source, columns), columns


def _kind(name: str) -> Kind:
    if name not in ("delimited", "parquet", "json"):
        raise ValueError(name)
    return name  # type: ignore[return-value]


def _given(columns: Mapping[str, ColumnRef | None]) -> Columns:
    return {role: ref for role, ref in columns.items() if ref is not None}


def _with_settings(base: FileFormat, given: FileSettings, columns: Columns, header: bool | None = None) -> FileFormat:
    """Return `base` with the settings in place of the defaults of the format or preset."""
    positions = [ref for ref in columns.values() if isinstance(ref, int)]
    if header is None:
        header = not positions
    return replace(
        base,
        header=header if given.header is None else given.header,
        width=max([*positions, -1]) + 1 if given.ragged else base.width,
        ragged=given.ragged,
        delimiter=given.delimiter or base.delimiter,
        quote=base.quote if given.quote is None else given.quote,
        multi_line=given.multi_line,
        encoding=given.encoding,
        max_record_bytes=given.max_record_bytes,
        null_words=given.null_words,
    )
