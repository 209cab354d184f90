"""Compute the pseudonym that stands for a user id in the lake."""

from __future__ import annotations

import hashlib
import hmac
import os

from etude.errors import SettingsError

KEY_VARIABLE = "ETUDE_USER_KEY"

BLANKS = " \t\r\n\u00a0\u3000\ufeff"
"""Characters that are removed around ids and names."""


def pseudonym(raw_id: str, key: bytes) -> str:
    """Compute the HMAC-SHA256 of the id's UTF-8 bytes under `key`, in hex (64 characters).

    >>> pseudonym("u1", b"secret")[:16]
    '8a629605d37d74d6'
    """
    return hmac.new(key, raw_id.encode("utf-8"), hashlib.sha256).hexdigest()


def user_key() -> bytes | None:
    """Return the key from the environment, or None if user ids aren't pseudonymised.

    Raises:
        SettingsError: the variable is set but empty.
    """
    key = os.environ.get(KEY_VARIABLE)
    if key is None:
        return None
    if not key:
        raise SettingsError(f"{KEY_VARIABLE} is set but empty; unset it, or set it to a key")
    return key.encode("utf-8")


def key_id(key: bytes | None) -> str | None:
    """Return 16 hex digits that identify the key without revealing it; None without a key."""
    return None if key is None else pseudonym("etude key id", key)[:16]


def lake_user_id(raw_id: str) -> str:
    """Return an id of a log as the lake holds it: without surrounding blanks; the pseudonym if ETUDE_USER_KEY is set.

    Raises:
        SettingsError: see `user_key`.
    """
    key = user_key()
    trimmed = raw_id.strip(BLANKS)
    return trimmed if key is None else pseudonym(trimmed, key)
