"""Name every place below a lake's root: the tables' folders and those of files beside the tables."""

from __future__ import annotations

import re
import uuid

from pyarrow.fs import FileType

from etude import storage
from etude.errors import SettingsError

_REFUSED = re.compile(r"[\[\]^|\\]|%[0-9A-Fa-f]{2}")


def check_root(root: str) -> None:
    """Check that a lake can be at this path, if it is on this machine.

    Raises:
        SettingsError: it is a file, or its path has characters that deltalake can't have in a table's path.
    """
    if not storage.to_uri(root).startswith("file:"):
        return
    system, path = storage.filesystem(root)
    refused = _REFUSED.search(path)
    if refused:
        raise SettingsError(
            f"lake.root={root}: the path {path} has {refused[0]}; expected none of [ ] ^ | \\ and no % before two hex "
            "digits; choose another folder"
        )
    if system.get_file_info(path).type == FileType.File:
        raise SettingsError(f"lake.root={root}: this is a file; expected a folder, or a path where none is yet")


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


def report(root: str, run_id: str, asked: str | None, suffix: str = ".html") -> str:
    """Return the path or URI of a run's page: the one that the settings ask for, otherwise one in the lake."""
    return asked or storage.join(root, "_reports", f"{run_id}{suffix}")
