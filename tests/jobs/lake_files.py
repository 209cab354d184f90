"""The rows of a lake's tables after ingest, read as files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

OUTPUTS = ("plays", "rejects", "tracks", "users", "interactions")


def rows(lake: Path, table: str) -> list[dict]:
    if not (lake / table).exists():
        return []
    found = [row for file in DeltaTable(str(lake / table)).file_uris() for row in _read(lake / table, file)]
    return sorted(found, key=lambda row: str(sorted(row.items(), key=str)))


def _read(root: Path, file: str) -> list[dict]:
    path = Path(file.removeprefix("file://"))
    found = pq.ParquetFile(path).read().to_pylist()
    parts = dict(part.split("=", 1) for part in path.relative_to(root).parts[:-1])
    return [{**row, **parts} for row in found]


def state(lake: Path) -> dict[str, list[dict]]:
    return {table: rows(lake, table) for table in OUTPUTS}
