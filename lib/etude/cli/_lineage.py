"""Show which runs wrote what a run read, back to the plays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etude.lake.graph import Source


def tree_lines(node: Source, prefix: str = "", seen: set[tuple[str, str]] | None = None) -> Iterator[str]:
    """Yield the tree as text: a line per run, with the versions that it read and wrote.

    A run that is already shown is named again, without its sources.
    """
    seen = set() if seen is None else seen
    again = node.run.key in seen
    seen.add(node.run.key)
    yield f"{node.run.job} {node.run.run_id}" + ("  (as above)" if again else "")
    if again:
        return
    bar = "│ " if node.sources else "  "
    for verb, versions in (("read ", node.run.tables_read), ("wrote", node.run.outputs)):
        if versions:
            yield f"{prefix}{bar}  {verb} {versions_text(versions)}"
    for number, source in enumerate(node.sources):
        last = number == len(node.sources) - 1
        lines = tree_lines(source, f"{prefix}{'  ' if last else '│ '}", seen)
        yield f"{prefix}{'└─' if last else '├─'}{next(lines)}"
        yield from lines


def tree_dict(node: Source) -> dict[str, Any]:
    """Return the tree for JSON."""
    return {
        "job": node.run.job,
        "run_id": node.run.run_id,
        "inputs": node.run.tables_read,
        "outputs": node.run.outputs,
        "sources": [tree_dict(source) for source in node.sources],
    }


def versions_text(versions: dict[str, int]) -> str:
    """Return versions as `plays v3, tracks v2`."""
    return ", ".join(f"{table} v{version}" for table, version in sorted(versions.items())) or "nothing"
