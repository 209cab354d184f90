"""Name every place below a lake's root: the tables' folders and those of files beside the tables."""

from __future__ import annotations

import uuid

from etude import storage


def table(root: str, name: str) -> str:
    """Return the URI of a table's folder."""
    return storage.join(root, name)


def unfinished(root: str, name: str) -> str:
    """Return a new URI for a table's folder until it is complete."""
    return storage.join(root, f"_unfinished-{name}-{uuid.uuid4().hex}")


def log(root: str, name: str) -> str:
    """Return the URI of a table's Delta log."""
    return storage.join(root, name, "_delta_log")


def checkpoints(root: str, *parts: str) -> str:
    """Return the URI for work in progress: staged results, training checkpoints, Spark's own checkpoints."""
    return storage.join(root, "_checkpoints", *parts)


def status(root: str, run_id: str, job: str) -> str:
    """Return the URI of the file that repeats a run's JSON line."""
    return storage.join(root, "_status", run_id, f"{job}.json")


def lease(root: str, name: str) -> str:
    """Return the URI of a lease file."""
    return storage.join(root, "_leases", name)


def report(root: str, run_id: str, asked: str | None) -> str:
    """Return the path or URI of a run's report: the one that report.path asks for, otherwise one in the lake."""
    return asked or storage.join(root, "_reports", f"{run_id}.html")
