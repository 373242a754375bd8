"""Where a request goes: the agent's path, taken apart.

Rules. The session id is percent-decoded once; the path after "/v1" and the query are passed on as they
came. A path never leaves the worker's api_path: a "." or ".." segment is refused, however it is spelled.
No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.names import check_session_id

_SESSIONS = "/sessions/"
_TWICE = "/v1/"
"""Begins a tail when a base URL ends in "/v1" already, as OpenAI's does, and the SDK adds its own."""
_BESIDE = frozenset({"tokenize", "detokenize"})
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_REMEMBERED_SIZE = 512
_SEPARATOR = re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)
class Target:
    """A data-plane request. `session_id` is empty for one without a session.

    `tail` is the raw path after "/v1" (empty or beginning with a slash), `query` the raw query with its
    question mark, or empty. `endpoint` is what a trace records, e.g. "chat/completions".
    """

    session_id: str
    tail: str
    query: str
    endpoint: str


def parse(raw: str) -> Target | None:
    """Takes a request target apart as it came (RFC 9112, 3.2: origin or absolute form).

    None when it is not of the data plane. Raises Refused (400) for an id or a path that is not allowed.
    """
    return _remembered(raw) if len(raw) <= _REMEMBERED_SIZE else _parse(raw)


def _parse(raw: str) -> Target | None:
    path, mark, query = split(raw)
    if path.startswith(_SESSIONS):
        found = _split_session(path[len(_SESSIONS) :])
        if found is None:
            return None
        session_id, tail = _session_id(found[0]), found[1]
    elif path == "/v1" or path.startswith("/v1/"):
        session_id, tail = "", path[3:]
    else:
        return None
    if tail.startswith(_TWICE):
        tail = tail[3:]
    return Target(session_id, _ascii(tail), _ascii(mark + query), _endpoint(tail))


def page(raw: str) -> str:
    """The path of a request target, in which there is nothing else that a page is chosen by."""
    return raw if raw.startswith(_SESSIONS) else split(raw)[0]


def split(raw: str) -> tuple[str, str, str]:
    """The path, the question mark, the query."""
    authority = _AUTHORITY.match(raw)
    return raw[authority.end() if authority else 0 :].partition("#")[0].partition("?")


_remembered = lru_cache(maxsize=4096)(_parse)
"""A session asks for the same thing again and again."""


def at_worker(url: str, api_path: str, target: Target) -> tuple[str, str]:
    """The worker's origin, and what it is asked for there: `api_path` ("/v1" when empty) stands for the
    agent's "/v1". What every engine serves beside it rather than in it is asked for there."""
    origin, base = _origin(url)
    root = (api_path or "/v1").rstrip("/")
    if target.endpoint in _BESIDE:
        root = root.removesuffix("/v1")
    return origin, f"{base}{root}{target.tail}{target.query}"


@lru_cache(maxsize=1024)
def _origin(url: str) -> tuple[str, str]:
    """An http URL's scheme and authority, and its path."""
    slash = url.find("/", url.index("://") + 3)
    return (url, "") if slash < 0 else (url[:slash], url[slash:])


def _split_session(rest: str) -> tuple[str, str] | None:
    """The raw id and the raw path after the first "/v1"."""
    raw_id, found, tail = rest.partition("/v1/")
    if found:
        return raw_id, "/" + tail
    return (rest[:-3], "") if rest.endswith("/v1") else None


def _session_id(raw: str) -> str:
    session_id = _decode(raw, "session id")
    try:
        check_session_id(session_id)
    except InvalidArgumentError as error:
        raise Refused(Fault.INVALID_SESSION_ID, f"The URL names no session: {error}.") from None
    return session_id


def _endpoint(tail: str) -> str:
    path = _decode(tail, "path")
    if any(segment in (".", "..") for segment in _SEPARATOR.split(path)):
        raise Refused(Fault.INVALID_PATH, 'The path holds a "." or ".." segment.')
    return path.strip("/")


def _ascii(raw: str) -> str:
    """As it came, but that bytes which may not stand in a URL are escaped."""
    return raw if raw.isascii() else quote(raw.encode("utf-8", "surrogateescape"), safe=_ASCII)


def _decode(raw: str, what: str) -> str:
    """Percent-decoded once, as UTF-8."""
    if _BAD_ESCAPE.search(raw):
        raise Refused(Fault.INVALID_PATH, f"The {what} in the URL holds a % that begins no escape.")
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise Refused(Fault.INVALID_PATH, f"The {what} in the URL is not UTF-8.") from None
