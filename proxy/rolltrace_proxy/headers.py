"""Which header fields cross the gateway, both ways (RFC 9110, 7.6.1).

Rules. Hop-by-hop fields stop here, also those that Connection names; all others go on, each as often as
it came. The worker is asked not to compress, so that its answer can be read. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import quote

from multidict import CIMultiDict

TRACE_ID = "x-rolltrace-trace-id"
SESSION_ID = "x-rolltrace-session-id"
REPLAYED = "x-rolltrace-replayed"
"""Says that the answer is a recorded one, given again."""

Fields = Collection[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Made anew by whoever sends the message.
_REQUEST_ONLY = frozenset({"host", "content-length", "accept-encoding", "expect"})


def to_worker(fields: Fields, api_key: str) -> CIMultiDict[str]:
    """The request's fields as the worker gets them; with an `api_key`, that replaces the agent's own."""
    dropped = _REQUEST_ONLY | {"authorization"} if api_key else _REQUEST_ONLY
    sent = _end_to_end(fields, dropped)
    sent["Accept-Encoding"] = "identity"
    if api_key:
        sent["Authorization"] = f"Bearer {api_key}"
    return sent


def to_agent(fields: Fields, *, same_length: bool) -> CIMultiDict[str]:
    """The answer's fields as the agent gets them. `same_length`: the body is passed on untouched."""
    return _end_to_end(fields, frozenset() if same_length else frozenset({"content-length"}))


def ids(trace_id: str, session_id: str) -> dict[str, str]:
    """The fields that name the record of an answer. The session id is percent-encoded as in a URL."""
    return {TRACE_ID: trace_id, SESSION_ID: quote(session_id, safe="/:@!$&'()*+,;=")}


def compressed(fields: Fields) -> bool:
    """Whether the body is in a form that can't be read as it is."""
    codings = [value.strip().lower() for name, value in fields if name.lower() == "content-encoding"]
    return any(coding not in ("", "identity") for coding in codings)


def size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of a header section on the wire, line ends included."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def _end_to_end(fields: Fields, dropped: frozenset[str]) -> CIMultiDict[str]:
    kept = [(name, value) for name, value in fields if name.lower() not in _HOP_BY_HOP]
    named = {
        token.strip().lower()
        for name, value in fields
        if name.lower() == "connection"
        for token in value.split(",")
    }
    return CIMultiDict((n, v) for n, v in kept if n.lower() not in named and n.lower() not in dropped)
