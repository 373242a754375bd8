"""A session's key: derived from its id and the environment's secret, so that it is kept nowhere.

    "rt-" + base64url(session_id) + "." + base64url(HMAC-SHA256(secret, session_id)[:24])

Both in UTF-8 and without padding. Whoever knows the secret can make and check every key, in any process,
without asking the store. A key has exactly one spelling. Decisions only.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

PREFIX = "rt-"
SECRET_SIZE = 32
_TAG_SIZE = 24


def session_key(secret: bytes, session_id: str) -> str:
    """The key of a session, of visible ASCII characters."""
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret has {SECRET_SIZE} bytes")
    name = session_id.encode()
    tag = hmac.digest(secret, name, "sha256")[:_TAG_SIZE]
    return f"{PREFIX}{_text(name)}.{_text(tag)}"


def session_of_key(secret: bytes, key: str) -> str | None:
    """The session whose key this is; None when it is nobody's. The time tells nothing about a right one."""
    if not key.startswith(PREFIX) or not key.isascii():
        return None
    name = key[len(PREFIX) :].partition(".")[0]
    try:
        session_id = urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    genuine = hmac.compare_digest(session_key(secret, session_id), key)
    return session_id if genuine and session_id else None


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
