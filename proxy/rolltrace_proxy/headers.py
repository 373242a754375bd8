"""Which header fields cross the gateway, both ways (RFC 9110, 7.6.1).

Rules. Hop-by-hop fields stop here, also those that Connection names; all others go on, each as often as
it came. The worker is asked not to compress, so that its answer can be read. No I/O.
"""

from __future__ import annotations

from urllib.parse import quote

from rolltrace_proxy.http1.interface import Fields

TRACE_ID = "x-rolltrace-trace-id"
SESSION_ID = "x-rolltrace-session-id"
REPLAYED = "x-rolltrace-replayed"
"""Says that the answer is a recorded one, given again."""

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
_REQUEST_ONLY = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "expect"}
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "cookie"})
_NO_CREDENTIALS = _REQUEST_ONLY | CREDENTIALS
_HOP_BY_HOP_AND_LENGTH = _HOP_BY_HOP | {"content-length"}


def to_worker(fields: Fields, api_key: str, *, credentials: bool = True) -> list[tuple[str, str]]:
    """The request's fields as the worker gets them, with or without an agent's credentials; an `api_key`
    replaces the agent's own."""
    dropped = _REQUEST_ONLY if credentials else _NO_CREDENTIALS
    if api_key:
        dropped = dropped | {"authorization"}
    sent = _end_to_end(fields, dropped)
    sent.append(("Accept-Encoding", "identity"))
    if api_key:
        sent.append(("Authorization", f"Bearer {api_key}"))
    return sent


def to_agent(fields: Fields, *, same_length: bool) -> list[tuple[str, str]]:
    """The answer's fields as the agent gets them. `same_length`: the body is passed on untouched."""
    return _end_to_end(fields, _HOP_BY_HOP if same_length else _HOP_BY_HOP_AND_LENGTH)


def ids(trace_id: str, session_id: str) -> list[tuple[str, str]]:
    """The fields that name the record of an answer. The session id is percent-encoded as in a URL."""
    return [(TRACE_ID, trace_id), (SESSION_ID, quote(session_id, safe="/:@!$&'()*+,;="))]


def value_of(fields: Fields, name: str) -> str:
    """The first value of the field with this lower-case name, or nothing."""
    return next((value for given, value in fields if given.lower() == name), "")


def compressed(fields: Fields) -> bool:
    """Whether the body is in a form that can't be read as it is."""
    codings = [value.strip().lower() for name, value in fields if name.lower() == "content-encoding"]
    return any(coding not in ("", "identity") for coding in codings)


def _end_to_end(fields: Fields, dropped: frozenset[str]) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    named: set[str] = set()
    for name, value in fields:
        lower = name.lower()
        if lower == "connection":
            named.update(token.strip().lower() for token in value.split(","))
        elif lower not in dropped:
            kept.append((name, value))
    named -= {"close", "keep-alive"}
    return [field for field in kept if field[0].lower() not in named] if named else kept
