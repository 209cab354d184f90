"""Describe what a file is that libsndfile refuses, and what it leaves out of the files that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from etude.audio.headers import stream_of

_HEAD = 4096
_HTML = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
# libsndfile says this of data in which it finds no frame of MP3.
_WRONG_WORDS = "File does not exist"

_OGG_PAGE = re.compile(rb"OggS\0(?P<kind>[\0-\7])")
_BEGINS_STREAM = 2
_CHUNK = 1 << 20


def why_undecodable(source: str | bytes | bytearray, error: Exception | None) -> str:
    """Return what the file is if it holds text or nothing, otherwise libsndfile's message."""
    with stream_of(source) as stream:
        head = stream.read(_HEAD)
    if not head:
        return "the file is empty"
    if _HTML.match(head):
        return "not audio: the file is an HTML page"
    if not _BINARY.search(head) and _is_utf8(head):
        return "not audio: the file is text"
    said = message_of(error)
    return "no audio frames found" if said.startswith(_WRONG_WORDS) else said


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def message_of(error: Exception | None) -> str:
    """Return libsndfile's message, without the path that soundfile prepends."""
    return str(getattr(error, "error_string", error)).strip()


def note_on_streams(source: str | bytes | bytearray, form: str) -> str:
    """Return a note if the file is Ogg and has streams after the first one, which alone is decoded; otherwise ""."""
    if form != "OGG":
        return ""
    with stream_of(source) as stream:
        data_seen = False
        for kind in _page_kinds(stream):
            if not kind & _BEGINS_STREAM:
                data_seen = True
            elif data_seen:
                return "; only the first of several Ogg streams was read"
    return ""


def _page_kinds(stream: BinaryIO) -> Iterator[int]:
    kept = b""
    while chunk := stream.read(_CHUNK):
        chunk = kept + chunk
        for page in _OGG_PAGE.finditer(chunk):
            yield page["kind"][0]
        kept = chunk[-5:]
