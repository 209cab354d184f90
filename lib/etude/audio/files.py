"""Resolve audio files by path or URI on executors, and read their size, modification time and bytes."""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from pyarrow import ArrowException, fs

from etude import storage
from etude.audio.refusal import RefusedError


@dataclass(frozen=True)
class Place:
    """Hold the base folder and the allowed folders of paths.

    base: URI of the folder that relative paths refer to, or None. allowed: URIs (normal_uri) of further folders that
    may hold audio. None allows all absolute paths and URIs, but relative paths and links still must not leave base.
    """

    base: str | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Found:
    """Describe an existing file: its URI, size in bytes and modification time in microseconds since 1970."""

    uri: str
    size: int
    mtime_us: int


def file_uri(path: str | bytes) -> str:
    """Return the file: URI of an absolute local path; it preserves bytes that aren't valid text."""
    return "file://" + quote(os.fsencode(path))


def local_path(uri: str) -> str | None:
    """Return the local path of a file: URI, or None for other schemes."""
    scheme, _, path = _parts(uri)
    return os.fsdecode(unquote_to_bytes(path)) if scheme == "file" else None


def normal_uri(path_or_uri: str) -> str:
    """Return an absolute URI without `.`, `..` or a trailing slash."""
    uri = storage.to_uri(path_or_uri)
    local = local_path(uri)
    if local is not None:
        return file_uri(os.path.normpath(local))
    scheme, host, path = _parts(uri)
    return f"{scheme}://{host}{posixpath.normpath(path) if path else ''}"


def _parts(uri: str) -> tuple[str, str, str]:
    """Return scheme, host and path of a URI; `#` and `?` are letters of the path, as everywhere in the lake.

    Raises:
        ValueError: the host is none, such as `[a`.
    """
    scheme, sign, rest = uri.partition("://")
    if not sign:  # file:/a/b, as Spark writes it
        scheme, _, path = uri.partition(":")
        return scheme, "", path
    host, slash, path = rest.partition("/")
    urlsplit(f"{scheme}://{host}")
    return scheme, host, slash + path


def find(path: str, place: Place) -> Found:
    """Find the file for a path from a manifest or the catalogue.

    Raises:
        RefusedError: bad_path, outside_root, missing, unreadable or not_a_file.
    """
    try:
        uri, relative = _resolve(path, place.base)
        local = local_path(uri)
        found = _stat_local(local, uri) if local is not None else _stat_remote(uri)
        _check_allowed(found.uri, local, relative, place)
    except ValueError as error:  # an invalid URI (`s3://[a/b`), a zero byte (%00), half a surrogate pair
        raise RefusedError("bad_path", f"{type(error).__name__}: {error}") from error
    return found


def _resolve(path: str, base: str | None) -> tuple[str, bool]:
    """Return (URI without `..`, whether the path was relative)."""
    if not path or any(ord(letter) < 32 for letter in path):
        raise RefusedError("bad_path", "the path is empty or has control characters")
    if "://" in path or path.startswith("file:/"):
        return normal_uri(path), False
    if path.startswith("/"):
        return file_uri(os.path.normpath(path)), False
    if base is None:
        raise RefusedError(
            "bad_path", "the path is relative, but has no base folder; expected an absolute path or a URI"
        )
    local_base = local_path(base)
    uri = (
        normal_uri(f"{base}/{quote(path)}")
        if local_base is None
        else file_uri(os.path.normpath(f"{local_base}/{path}"))
    )
    if not _under(uri, base):
        raise RefusedError("outside_root", f"the path leads out of {base}")
    return uri, True


def _check_allowed(uri: str, local: str | None, relative: bool, place: Place) -> None:
    """Check that the resolved file lies in an allowed folder; resolve links first, so that none can lead out."""
    if not relative and place.allowed is None:
        return
    real = file_uri(os.path.realpath(local)) if local is not None else uri
    roots = [*(place.allowed or ()), *([place.base] if place.base else [])]
    if not any(_under(real, _real_root(root)) for root in roots):
        raise RefusedError("outside_root", f"the file is {real}, outside audio.allowed_roots and the base folder")


def _real_root(root: str) -> str:
    local = local_path(root)
    return file_uri(os.path.realpath(local)) if local is not None else root


def _under(uri: str, root: str) -> bool:
    return uri.startswith(root.rstrip("/") + "/")


def _stat_local(path: str, uri: str) -> Found:
    try:
        info = Path(path).stat()
    except OSError as error:
        raise _refusal_for(error) from error
    if not stat.S_ISREG(info.st_mode):
        raise RefusedError("not_a_file", "a folder, pipe or device; expected a file")
    return Found(uri, info.st_size, info.st_mtime_ns // 1000)


def _refusal_for(error: OSError) -> RefusedError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return RefusedError("missing", "no such file")
    return RefusedError("unreadable", f"{type(error).__name__}: {error.strerror}")


def _stat_remote(uri: str) -> Found:
    try:
        system, path = storage.filesystem(uri)
    except (ArrowException, ValueError) as error:
        raise RefusedError("bad_path", f"{type(error).__name__}: {error}") from error
    except OSError as error:  # a missing library, or a service that doesn't answer
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error
    try:
        info = system.get_file_info(path)
    except (ArrowException, OSError) as error:
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error
    if info.type == fs.FileType.NotFound:
        raise RefusedError("missing", "no such file")
    if info.type != fs.FileType.File:
        raise RefusedError("not_a_file", "a folder; expected a file")
    return Found(uri, info.size, (info.mtime_ns or 0) // 1000)


def fetch(uri: str, time_limit_s: float) -> str | bytes:
    """Return the decoder's input: the path of a local file (so that it can seek), or the bytes of another file.

    Raises:
        RefusedError: missing, unreadable, or timeout if reading takes more than time_limit_s seconds.
    """
    local = local_path(uri)
    if local is not None:
        return local
    answer: futures.Future[bytes] = futures.Future()

    def read() -> None:
        try:
            answer.set_result(storage.read_bytes(uri))
        except BaseException as error:
            answer.set_exception(error)

    # A stalled read can't be interrupted: its thread is abandoned, and ends with the process.
    threading.Thread(target=read, daemon=True).start()
    try:
        return answer.result(time_limit_s)
    except (futures.TimeoutError, TimeoutError) as error:  # the same class since Python 3.11
        raise RefusedError("timeout", f"reading took more than {time_limit_s:g} s") from error
    except FileNotFoundError as error:
        raise RefusedError("missing", "no such file") from error
    except (ArrowException, OSError) as error:
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error


def list_folder(root: str, suffixes: tuple[str, ...], place: Place) -> Iterator[tuple[str, Found | RefusedError]]:
    """Yield (path below root, file or refusal) for each file with one of the suffixes, in every folder below root.

    A folder with one of the suffixes is reported as not_a_file, and entered too. Linked folders aren't entered; one
    that leads out of root is reported as outside_root. An entry that can't be read is reported as unreadable.

    Raises:
        OSError: root doesn't exist or can't be read.
    """
    local = local_path(root)
    if local is None:
        yield from _list_remote(root, suffixes)
    else:
        os.scandir(local).close()
        yield from _list_local(local, suffixes, place)


def _list_local(root: str, suffixes: tuple[str, ...], place: Place) -> Iterator[tuple[str, Found | RefusedError]]:
    waiting = [""]  # not a recursion, because folders can be deeper than Python's stack
    while waiting:
        below = waiting.pop()
        try:
            entries = sorted(os.scandir(f"{root}/{below}"), key=lambda entry: entry.name)
        except OSError as error:
            yield below, RefusedError("unreadable", f"the folder can't be listed: {error.strerror}")
            continue
        for entry in entries:
            name = below + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_dir() and not _leads_into(entry.path, root):
                    raise RefusedError("outside_root", "a linked folder that leads out of the root; it is not entered")
                if entry.name.lower().endswith(suffixes):
                    found = _stat_local(entry.path, file_uri(f"{root}/{name}"))
                    if entry.is_symlink():
                        _check_allowed(found.uri, entry.path, True, place)
                    yield name, found
            except RefusedError as refused:
                yield name, refused
            except OSError as error:  # a link to itself, or into a folder that can't be read
                yield name, _refusal_for(error)


def _leads_into(link: str, root: str) -> bool:
    return _under(file_uri(os.path.realpath(link)) + "/", file_uri(os.path.realpath(root)))


def _list_remote(root: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Found | RefusedError]]:
    system, path = storage.filesystem(root)
    for info in system.get_file_info(fs.FileSelector(path, recursive=True)):
        if not info.path.lower().endswith(suffixes):
            continue
        below = info.path[len(path.rstrip("/")) + 1 :]
        if info.type == fs.FileType.File:
            yield below, Found(f"{root.rstrip('/')}/{quote(below)}", info.size, (info.mtime_ns or 0) // 1000)
        else:
            yield below, RefusedError("not_a_file", "a folder; expected a file")


def as_text(path: str) -> str:
    """Return a local path as text, with bytes that aren't UTF-8 as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
