"""Read and write files by URI, on the driver and on executors. No other module resolves URIs.

Spark and Delta open their own files. This module opens all others: checkpoints, status files, manifests, and the files
of a table version that a training rank reads. A path without a scheme is a local path. In a URI's path, `%` and two
digits stand for a reserved character in every scheme; `#` and `?` have no special meaning.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pyarrow import NativeFile, fs

from etude.errors import SettingsError

# Matches up to the first slash, and beyond it only after a colon, because a secret may hold slashes. A slash after the
# scheme may be forgotten.
_USERINFO = re.compile(r"\b(?!file:)([A-Za-z][\w+.-]*:/{1,2})(?:[^\s/@'\"]+|[^\s/@:'\"]+:[^\s@'\"]+)@")
_IN_QUERY = re.compile(
    r"([?&](?:[\w-]*(?:signature|credential|token|secret|password|accesskey)[\w-]*|sig|key|awsaccesskeyid)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_ONE_SLASH = re.compile(r"(s3[an]?|gs|hdfs|viewfs|abfss?|wasbs?|adl|https?|ftp):")


def shown(text: str) -> str:
    """Return a URI, or a text with URIs in it, with its secrets masked.

    These are the user info before a host's @, and signatures, tokens and keys in a query.
    """
    return _IN_QUERY.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


def masked(value: Any) -> Any:
    """Return a value for JSON with the secrets of all its texts masked; in the JSON text, that could cost a quote."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {key: masked(each) for key, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list | tuple) else value


def to_uri(path_or_uri: str) -> str:
    """Return an absolute URI without a trailing slash; a local path becomes `file:///...` with escapes.

    Raises:
        SettingsError: a scheme is not followed by two slashes; taken as a local path, it would make a folder.
    """
    if "://" in path_or_uri:
        return path_or_uri.rstrip("/")
    scheme = _ONE_SLASH.match(path_or_uri)
    if scheme:
        raise SettingsError(
            f"{shown(path_or_uri)}: expected two slashes after {scheme[0]} as in {scheme[0]}//host/path"
        )
    if path_or_uri.startswith("file:"):
        return "file://" + path_or_uri[len("file:") :].rstrip("/")
    return "file://" + quote(str(Path(path_or_uri).expanduser().absolute()))


def for_spark(path_or_uri: str) -> str:
    """Return the URI without escapes, as Spark and Hadoop need it: they don't decode the path."""
    scheme, _, rest = to_uri(path_or_uri).partition("://")
    return f"{scheme}://{unquote(rest)}"


def literal(path: str) -> str:
    r"""Escape the characters of globs in a path, so that Spark's readers take it literally.

    >>> literal("/logs/a[1].tsv")
    '/logs/a\\[1\\].tsv'
    """
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", path)


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the pyarrow file system of a URI, and the path inside it.

    s3a: and s3: take credentials from the environment or the instance, as Spark's own providers do.
    """
    full = to_uri(uri)
    if full.startswith(("s3://", "s3a://")):
        bucket, slash, path = _USERINFO.sub(r"\1", full, count=1).partition("://")[2].partition("/")
        return _system("s3", ""), bucket + unquote(slash + path)
    scheme, _, rest = full.partition("://")
    host, slash, path = rest.partition("/")
    return _system(scheme, host), unquote(slash + path)


@functools.cache
def _system(scheme: str, host: str) -> fs.FileSystem:
    """Return one file system for all files of a host, because each S3FileSystem resolves credentials and connects."""
    if scheme == "file":
        return fs.LocalFileSystem()
    if scheme == "s3":
        return fs.S3FileSystem()
    return fs.FileSystem.from_uri(f"{scheme}://{host}/")[0]


def join(uri: str, *parts: str) -> str:
    """Append path segments to `uri`; each segment is taken literally."""
    return posixpath.join(to_uri(uri), *(quote(part) for part in parts))


def exists(uri: str) -> bool:
    """Return whether a file or folder exists."""
    system, path = filesystem(uri)
    return system.get_file_info(path).type != fs.FileType.NotFound


def age_s(uri: str) -> float:
    """Return the seconds since the file was last written, by its store's clock; 0 if the store keeps no times.

    Another file is written beside it, since the clocks of two machines differ. For a reader that may not write there,
    this machine's clock has to do.

    Raises:
        FileNotFoundError: there is no file or folder.
    """
    system, path = filesystem(uri)
    written = system.get_file_info(path)
    if written.type == fs.FileType.NotFound:
        raise FileNotFoundError(uri)
    if written.mtime is None:
        return 0.0
    probe = f"{uri}.{uuid.uuid4().hex}.clock"
    try:
        write_bytes(probe, b"")
    except OSError:
        return time.time() - written.mtime.timestamp()
    try:
        now = system.get_file_info(filesystem(probe)[1])
    finally:
        delete(probe)
    return float((now.mtime - written.mtime).total_seconds())


def read_bytes(uri: str) -> bytes:
    """Read a whole file.

    Raises:
        FileNotFoundError: there is no file.
    """
    system, path = filesystem(uri)
    with system.open_input_stream(path) as stream:
        return stream.read()


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file; a reader sees the old content or the new one, never a part."""
    with writing(uri) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[NativeFile]:
    """Yield a stream; what was written to it becomes the file at the end, as in `write_bytes`.

    On S3, a body that fails leaves what it had written.
    """
    system, path = filesystem(uri)
    if isinstance(system, fs.S3FileSystem):
        with system.open_output_stream(path) as stream:
            yield stream
        return
    system.create_dir(posixpath.dirname(path), recursive=True)
    unfinished = posixpath.join(posixpath.dirname(path), f".{uuid.uuid4().hex}.tmp")
    try:
        with system.open_output_stream(unfinished) as stream:
            yield stream
        system.move(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError, OSError):
            system.delete_file(unfinished)
        raise


def create_local(uri: str, data: bytes) -> bool:
    """Write a whole file of the local file system unless it exists; return whether it was written.

    Of several concurrent writers one succeeds. A reader never sees a part.
    """
    path = Path(filesystem(uri)[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_bytes(data)
        os.link(unfinished, path)  # unlike a rename, a link never replaces a file
    except FileExistsError:
        return False
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def files_below(uri: str) -> list[fs.FileInfo]:
    """Return the file itself, or all files at any depth below a folder; empty if nothing is there."""
    system, path = filesystem(uri)
    infos = [system.get_file_info(path)]
    if infos[0].type == fs.FileType.Directory:
        infos = system.get_file_info(fs.FileSelector(path, recursive=True))
    return [info for info in infos if info.type == fs.FileType.File]


def delete(uri: str) -> None:
    """Remove a file, or a folder with its contents; do nothing if there is none."""
    system, path = filesystem(uri)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        system.delete_dir(path)
    elif kind != fs.FileType.NotFound:
        system.delete_file(path)


def list_files(uri: str) -> list[str]:
    """Return the URIs of the files directly below a folder, sorted; empty if there is no folder."""
    system, path = filesystem(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(join(uri, info.base_name) for info in infos if info.type == fs.FileType.File)


def list_folders(uri: str) -> list[str]:
    """Return the names of the folders directly below a folder, sorted; empty if there is no folder."""
    system, path = filesystem(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)
