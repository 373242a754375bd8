"""Pages (AIP-158): their sizes, and tokens that fit one list only.

A token is urlsafe base64 of a digest and the place where the next page begins. The digest covers the
place, the RPC and its filter, so that a token that was cut, made up or taken from another list is an
error instead of a page that makes no sense. It is no secret: a place gives nobody a right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from google.protobuf.message import Message

from rolltrace_store.errors import InvalidArgumentError

DEFAULT_SIZE = 100
MAX_SIZE = 1000
MAX_BYTES = 1 << 20
_DIGEST_BYTES = 12


def page_size(asked: int) -> int:
    """How many rows a page may have. Raises InvalidArgumentError for a negative number."""
    if asked < 0:
        raise InvalidArgumentError("page_size", f"page_size {asked} is negative; 0 means {DEFAULT_SIZE}")
    return min(asked, MAX_SIZE) or DEFAULT_SIZE


def next_token(rpc: str, scope: bytes, place: str) -> str:
    """The token of the page that begins after `place`. `scope` is what has to be the same again."""
    return _token(rpc, scope, place.encode())


def place_of(rpc: str, scope: bytes, token: str) -> str:
    """The place in a token; "" for no token. Raises InvalidArgumentError unless it is this list's."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except binascii.Error:
        data = b""
    place = data[_DIGEST_BYTES:]
    if token != _token(rpc, scope, place):
        raise InvalidArgumentError(
            "page_token", f"page_token is not one that {rpc} gave for this filter; begin without one"
        )
    return place.decode()


def scope_of(message: Message) -> bytes:
    """A filter as bytes that are the same whenever it is."""
    return message.SerializeToString(deterministic=True)


def _token(rpc: str, scope: bytes, place: bytes) -> str:
    lengths = f"{rpc}:{len(scope)}:".encode()
    digest = hashlib.sha256(lengths + scope + place).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest + place).decode()
