"""Which runs wrote what a run read: the way from a result back to the plays.

A run names the runs of earlier stages that it builds on (`upstream`). Of tables that runs share (plays, tracks, mel
...) it knows the Delta version it read, and the commit of that version says who made it: every job writes its name and
run_id into its commits. The ledger alone couldn't tell, since a rerun's row holds the versions of its last attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from etude import storage
from etude.lake.tables import TABLES

MAKERS = ("ingest", "mel", "wmf", "train", "topn")
"""The jobs that make something, in order; a report or a pipeline reads what others wrote."""

_COMMITTER = re.compile(r"job=(\S+) run_id=(\S+)")
_LOOK_BACK = 100


@dataclass(frozen=True)
class Brief:
    """What it takes to choose among runs and to follow them: a row of `runs` without the long columns."""

    run_id: str
    job: str
    protocol: str
    started_at: datetime
    ended_at: datetime | None
    inputs: dict[str, int]
    outputs: dict[str, int]
    upstream: dict[str, str]

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Brief:
        """From a row of `runs` with at least these columns."""
        return cls(**{name: row[name] for name in COLUMNS})


COLUMNS = tuple(each.name for each in fields(Brief))
"""The columns of `runs` that a Brief is made of."""


def sources(root: str, run: Brief, known: Sequence[Brief]) -> list[Brief]:
    """The runs among `known` that wrote what `run` read, later stages first; ingest reads nobody's tables."""
    found: dict[str, Brief] = {}
    by_id = {(each.job, each.run_id): each for each in known}
    if run.job != "ingest":
        for table, version in run.inputs.items():
            # Whose rows of a table with run_ids are read, upstream says; rejects and current are nobody's source.
            if table not in TABLES or TABLES[table].has_runs or table in ("rejects", "current"):
                continue
            told = (by_id[writer] for writer in committers(root, table, version) if writer in by_id)
            source = next(told, None) or _last_before(table, version, run, known)
            if source and source.job != run.job:
                found.setdefault(f"{source.job} {source.run_id}", source)
    for named in run.upstream.items():
        if named in by_id:
            found.setdefault(" ".join(named), by_id[named])
    return sorted(found.values(), key=lambda each: -MAKERS.index(each.job))


def committers(root: str, table: str, version: int) -> Iterator[tuple[str, str]]:
    """(job, run_id) of the jobs that had written a table by then, the last one first, as far as its log tells.

    Others' commits (OPTIMIZE, a new constraint) are passed over: they make no rows.
    """
    for number in range(version, max(version - _LOOK_BACK, -1), -1):
        try:
            commit = storage.read_bytes(f"{root}/{table}/_delta_log/{number:020d}.json")
        except FileNotFoundError:
            return  # cleaned up, or never there
        for line in commit.splitlines():
            if b'"commitInfo"' in line[:40]:
                said = _COMMITTER.fullmatch(str(json.loads(line)["commitInfo"].get("userMetadata")))
                if said:
                    yield said[1], said[2]


def _last_before(table: str, version: int, reader: Brief, known: Sequence[Brief]) -> Brief | None:
    """By the ledger: of the runs before the reader, the last to write the table up to the version."""
    before = (each for each in known if each.started_at <= reader.started_at)
    writers = [each for each in before if each.outputs.get(table, version + 1) <= version]
    return max(writers, key=lambda each: (each.outputs[table], each.started_at), default=None)
