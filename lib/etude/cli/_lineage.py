"""From a run back to the plays: which run wrote what it read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from etude.config.compare import non_defaults
from etude.lake.glance import Glance, Rows
from etude.lake.tables import TABLES

_BRIEF = ("run_id", "job", "batch_date", "protocol", "status", "started_at", "inputs", "outputs", "upstream")
# A report or a pipeline reads what others wrote; nothing is made from it.
_MAKERS = ("ingest", "mel", "wmf", "train", "topn")


@dataclass(frozen=True)
class Node:
    """One run, what it read (table -> version), and the runs that wrote that."""

    run_id: str
    job: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    sources: tuple[Node, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def runs_of(lake: Glance, run_id: str) -> Rows:
    """Whole rows of a run_id's jobs, in the order in which they started."""
    return sorted(lake.rows("runs", run_id=run_id), key=lambda row: row["started_at"])


def trace(lake: Glance, last: dict[str, Any]) -> Node:
    """The tree of runs behind one run; a run that several others read stands below each of them."""
    known = [row for row in lake.rows("runs", _BRIEF, status="succeeded") if row["job"] in _MAKERS]
    return _node(last, known, ())


def _node(row: dict[str, Any], known: Sequence[dict[str, Any]], above: tuple[tuple[str, str], ...]) -> Node:
    here = (*above, (row["job"], row["run_id"]))
    sources = [found for found in _sources(row, known) if (found["job"], found["run_id"]) not in here]
    return Node(
        row["run_id"],
        row["job"],
        tables_of(row["inputs"]),
        dict(row["outputs"]),
        tuple(_node(found, known, here) for found in sources),
    )


def _sources(row: dict[str, Any], known: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The runs that wrote what `row` read: those it names, and for shared tables the last writer before the version."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for job, run_id in row["upstream"].items():
        found.update({(r["job"], r["run_id"]): r for r in known if (r["job"], r["run_id"]) == (job, run_id)})
    if row["job"] in ("ingest",):
        return
    for table, version in tables_of(row["inputs"]).items():
        if TABLES[table].has_runs or table in ("rejects", "current"):
            continue
        writers = [r for r in known if r["outputs"].get(table, version + 1) <= version and r["job"] != row["job"]]
        if writers:
            last = max(writers, key=lambda r: (r["outputs"][table], r["started_at"]))
            found[last["job"], last["run_id"]] = last
    order = {job: number for number, job in enumerate(_MAKERS)}
    yield from sorted(found.values(), key=lambda r: -order[r["job"]])


def tree_lines(node: Node, prefix: str = "", seen: set[tuple[str, str]] | None = None) -> Iterator[str]:
    """The tree as text: a run a line, with the versions it read and wrote; what stood above isn't opened again."""
    seen = set() if seen is None else seen
    again = (node.job, node.run_id) in seen
    seen.add((node.job, node.run_id))
    yield f"{node.job} {node.run_id}" + ("  (as above)" if again else "")
    if again:
        return
    bar = "│ " if node.sources else "  "
    for verb, versions in (("read ", node.inputs), ("wrote", node.outputs)):
        if versions:
            yield f"{prefix}{bar}  {verb} {versions_text(versions)}"
    for number, source in enumerate(node.sources):
        last = number == len(node.sources) - 1
        lines = tree_lines(source, f"{prefix}{'  ' if last else '│ '}", seen)
        yield f"{prefix}{'└─' if last else '├─'}{next(lines)}"
        yield from lines


def tree_dict(node: Node) -> dict[str, Any]:
    """The tree for JSON."""
    return {
        "job": node.job,
        "run_id": node.run_id,
        "inputs": node.inputs,
        "outputs": node.outputs,
        "sources": [tree_dict(source) for source in node.sources],
    }


def tables_of(inputs: dict[str, int]) -> dict[str, int]:
    """The tables among a run's inputs; the others are fingerprints of files outside the lake."""
    return {name: version for name, version in inputs.items() if name in TABLES}


def versions_text(versions: dict[str, int]) -> str:
    """`plays v3, tracks v2`."""
    return ", ".join(f"{table} v{version}" for table, version in sorted(versions.items())) or "nothing"


def differing(row: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value, default) of the run's settings that aren't today's defaults."""
    return non_defaults(json.loads(row["settings"]))
