"""Which REST call a request is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_proxy import paths
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.rest.errors import RestError
from rolltrace_proxy.rest.routes import Page, Route, find, limit, since


@pytest.mark.parametrize(
    ("method", "path", "page", "name"),
    [
        ("POST", "/sessions", Page.CREATE_SESSION, ""),
        ("GET", "/sessions", Page.LIST_SESSIONS, ""),
        ("POST", "/sessions/batch_delete", Page.DELETE_SESSIONS, ""),
        ("GET", "/sessions/batch_delete", Page.GET_SESSION, "batch_delete"),
        ("GET", "/sessions/s", Page.GET_SESSION, "s"),
        ("GET", "/sessions/harbor/hello-world:0", Page.GET_SESSION, "harbor/hello-world:0"),
        ("DELETE", "/sessions/harbor/hello-world:0", Page.DELETE_SESSION, "harbor/hello-world:0"),
        ("GET", "/sessions/s/traces", Page.SESSION_TRACES, "s"),
        ("GET", "/sessions/a/b%20c%2Fd/traces", Page.SESSION_TRACES, "a/b c/d"),
        ("GET", "/sessions/a%2Ftraces", Page.GET_SESSION, "a/traces"),
        ("GET", "/sessions/a%2Ftraces/traces", Page.SESSION_TRACES, "a/traces"),
        ("GET", "/sessions/traces", Page.GET_SESSION, "traces"),
        ("DELETE", "/sessions/s/traces", Page.DELETE_SESSION, "s/traces"),
        ("GET", "/sessions/%25", Page.GET_SESSION, "%"),
        ("GET", "/traces/a-b", Page.GET_TRACE, "a-b"),
        ("POST", "/traces/query", Page.QUERY_TRACES, ""),
        ("GET", "/traces/query", Page.GET_TRACE, "query"),
        ("POST", "/admin/workers", Page.ADD_WORKER, ""),
        ("GET", "/admin/workers", Page.LIST_WORKERS, ""),
        ("DELETE", "/admin/workers/10.0.0.7:8000", Page.REMOVE_WORKER, "10.0.0.7:8000"),
        ("POST", "/admin/flush", Page.FLUSH, ""),
        ("POST", "/admin/reload", Page.RELOAD, ""),
        ("GET", "/admin/weight_version", Page.GET_WEIGHT_VERSION, ""),
        ("POST", "/admin/weight_version", Page.SET_WEIGHT_VERSION, ""),
    ],
)
def test_a_call_is_found(method: str, path: str, page: Page, name: str) -> None:
    assert find(method, path, "") == Route(page, name)


@pytest.mark.parametrize(
    "path", ["/", "/session", "/sessions/", "/traces", "/traces/", "/admin", "/x/sessions"]
)
def test_what_is_none_is_not_found(path: str) -> None:
    assert find("GET", path, "") is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/sessions"), ("POST", "/sessions/s"), ("HEAD", "/sessions/s"), ("GET", "/admin/flush")],
)
def test_a_method_that_a_path_does_not_take(method: str, path: str) -> None:
    with pytest.raises(RestError) as raised:
        find(method, path, "")
    assert raised.value.status == 405


@pytest.mark.parametrize("path", ["/sessions/s/chat/completions", "/sessions/a/b/messages"])
def test_an_agents_call_without_v1_is_no_wrong_method(path: str) -> None:
    assert find("POST", path, "") is None


@pytest.mark.parametrize(
    "path", ["/sessions/%ff", "/sessions/a%c3/traces", "/traces/%ff", "/admin/workers/%fe"]
)
def test_a_name_that_is_not_utf_8_is_no_other_name(path: str) -> None:
    """It was taken for one with U+FFFD, which a DELETE would have met."""
    with pytest.raises(RestError, match="UTF-8") as raised:
        find("DELETE" if "workers" in path else "GET", path, "")
    assert raised.value.status == 400


@given(st.text("ab/%2Fv1:", max_size=12))
def test_an_agents_path_is_no_rest_call(session_id: str) -> None:
    """Whatever stands before "/v1/" belongs to the data plane, or is refused there."""
    with suppress(Refused):
        assert paths.parse(f"/sessions/{session_id}/v1/traces") is not None


def test_the_query_is_read() -> None:
    route = find("GET", "/sessions/s/traces", "since=1.5e3&limit=1&limit=7&x=")
    assert route is not None
    assert (since(route), limit(route)) == (1500.0, 7)
    assert (since(Route(Page.LIST_SESSIONS)), limit(Route(Page.LIST_SESSIONS))) == (None, None)


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "inf", "0x1"])
def test_a_limit_that_is_none_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(RestError, match="limit") as raised:
        limit(Route(Page.LIST_SESSIONS, query={"limit": text}))
    assert raised.value.status == 422


@pytest.mark.parametrize("text", ["", "x", "inf", "nan", "yesterday"])
def test_a_time_that_is_none_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(RestError, match="since") as raised:
        since(Route(Page.LIST_SESSIONS, query={"since": text}))
    assert raised.value.status == 422
