"""Which REST call a request is. No I/O.

Rules. A path is taken apart as it came and then percent-decoded, once: a session id may hold slashes, also
escaped ones, so that "a%2Ftraces" is a session and "a/traces" the traces of one. What belongs to the data
plane ("/v1" in the path) is not looked up here. Of a query field that comes twice the last one counts.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from rolltrace_proxy.rest.errors import RestError

T = TypeVar("T", int, float)

_SESSIONS, _TRACES, _WORKERS = "/sessions/", "/traces/", "/admin/workers/"
_OF_TRACES = "/traces"


class Page(enum.Enum):
    """A REST call, with its method and path."""

    CREATE_SESSION = "POST /sessions"
    LIST_SESSIONS = "GET /sessions"
    DELETE_SESSIONS = "POST /sessions/batch_delete"
    GET_SESSION = "GET /sessions/{}"
    DELETE_SESSION = "DELETE /sessions/{}"
    SESSION_TRACES = "GET /sessions/{}/traces"
    GET_TRACE = "GET /traces/{}"
    QUERY_TRACES = "POST /traces/query"
    ADD_WORKER = "POST /admin/workers"
    LIST_WORKERS = "GET /admin/workers"
    REMOVE_WORKER = "DELETE /admin/workers/{}"
    FLUSH = "POST /admin/flush"
    RELOAD = "POST /admin/reload"
    GET_WEIGHT_VERSION = "GET /admin/weight_version"
    SET_WEIGHT_VERSION = "POST /admin/weight_version"


_PAGES = {page.value: page for page in Page}
_PATHS = {page.value.partition(" ")[2] for page in Page}


@dataclass(frozen=True, slots=True)
class Route:
    """`name`: the session, trace or worker of the path; "" where there is none."""

    page: Page
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict[str, str])


def find(method: str, path: str, query: str) -> Route | None:
    """The call of a raw path and query; None when it is none, as an agent's whose base URL lacks its "/v1".

    Raises RestError for a method that the path does not take, and for a name that is not UTF-8.
    """
    for pattern, name in _readings(path):
        page = _PAGES.get(f"{method} {pattern}")
        if page is not None:
            return Route(page, _decoded(name), dict(parse_qsl(query, keep_blank_values=True)))
    known = [pattern for pattern, _ in _readings(path) if pattern in _PATHS]
    if known and not (method == "POST" and "/" in path.removeprefix(_SESSIONS) and known == ["/sessions/{}"]):
        raise RestError(405, f"{method} is not a method of {path}")
    return None


def _decoded(name: str) -> str:
    """Never another name than was meant."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise RestError(400, f"the path holds a name that is not UTF-8: {name[:80]}") from None


def _readings(path: str) -> list[tuple[str, str]]:
    """What the path may be, the narrowest first: a pattern of Page, and the name that stands in it."""
    readings = [(path, "")]
    if path.startswith(_SESSIONS):
        name = path[len(_SESSIONS) :]
        if name.endswith(_OF_TRACES):
            readings.append(("/sessions/{}/traces", name[: -len(_OF_TRACES)]))
        readings.append(("/sessions/{}", name))
    for parent in (_TRACES, _WORKERS):
        if path.startswith(parent):
            readings.append((parent + "{}", path[len(parent) :]))
    return [(pattern, name) for pattern, name in readings if name or "{}" not in pattern]


def since(route: Route) -> float | None:
    """The query's `since`, in seconds since 1970. Raises RestError."""
    text = route.query.get("since")
    return None if text is None else _number(text, float, "since", "a time in seconds since 1970")


def limit(route: Route) -> int | None:
    """The query's `limit`, at least 0. Raises RestError."""
    text = route.query.get("limit")
    return None if text is None else _number(text, int, "limit", "a whole number of at least 0")


def _number(text: str, read: Callable[[str], T], name: str, what: str) -> T:
    try:
        value = read(text)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value) or (name == "limit" and value < 0):
        raise RestError(422, f"{name} is {text[:80]!r}; it must be {what}")
    return value
