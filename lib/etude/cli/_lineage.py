"""From a run back to the plays: which run wrote what it read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from etude import storage
from etude.config.non_defaults import non_defaults
from etude.lake.glance import Glance, Rows
from etude.lake.lineage import COLUMNS, MAKERS, Brief, sources
from etude.lake.tables import TABLES


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


def trace(lake: Glance, root: str, last: dict[str, Any]) -> Node:
    """The tree of runs behind one run of the lake at `root`; one that several others read stands below each of them."""
    known = [Brief.from_row(row) for row in lake.rows("runs", COLUMNS, status="succeeded") if row["job"] in MAKERS]
    return _node(storage.to_uri(root), Brief.from_row(last), known, ())


def _node(root: str, run: Brief, known: Sequence[Brief], above: tuple[tuple[str, str], ...]) -> Node:
    here = (*above, (run.job, run.run_id))
    found = [each for each in sources(root, run, known) if (each.job, each.run_id) not in here]
    return Node(
        run.run_id,
        run.job,
        tables_of(run.inputs),
        dict(run.outputs),
        tuple(_node(root, each, known, here) for each in found),
    )


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
