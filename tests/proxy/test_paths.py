from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rolltrace_proxy.errors import Refused
from rolltrace_proxy.paths import Target, at_worker, parse
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.names import check_session_id


@pytest.mark.parametrize(
    ("raw", "session_id", "tail", "query", "endpoint"),
    [
        ("/v1/chat/completions", "", "/chat/completions", "", "chat/completions"),
        ("/v1", "", "", "", ""),
        ("/sessions/s-1/v1/chat/completions", "s-1", "/chat/completions", "", "chat/completions"),
        ("/sessions/harbor/hello-world:0/v1/models", "harbor/hello-world:0", "/models", "", "models"),
        ("/sessions/harbor%2Fa%20b/v1/models", "harbor/a b", "/models", "", "models"),
        ("/sessions/a%252Fb/v1/x", "a%2Fb", "/x", "", "x"),
        ("/sessions/a/v1", "a", "", "", ""),
        ("/sessions/a/v1/x/v1/y", "a", "/x/v1/y", "", "x/v1/y"),
        ("/sessions/a/v1/v1/messages", "a", "/messages", "", "messages"),
        ("/v1/v1/messages?q", "", "/messages", "?q", "messages"),
        ("/v1/models?a=%20b&a=c", "", "/models", "?a=%20b&a=c", "models"),
        ("/v1/models?next=/v1/../x", "", "/models", "?next=/v1/../x", "models"),
        ("/v1/models/org%2Fname", "", "/models/org%2Fname", "", "models/org/name"),
        ("/v1/a//b/", "", "/a//b/", "", "a//b"),
        ("http://gateway:9090/v1/models?q", "", "/models", "?q", "models"),
        ("/v1/m\udcc3\udca4", "", "/m%C3%A4", "", "mä"),
    ],
)
def test_a_path_is_taken_apart(raw: str, session_id: str, tail: str, query: str, endpoint: str) -> None:
    assert parse(raw) == Target(session_id, tail, query, endpoint)


@pytest.mark.parametrize("raw", ["/", "/v2/x", "/v1x", "/sessions", "/sessions/a", "/sessions/a/v2/x", "*"])
def test_other_paths_are_not_of_the_data_plane(raw: str) -> None:
    assert parse(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "/sessions//v1/x",
        "/sessions/a//b/v1/x",
        "/sessions/../v1/x",
        "/sessions/a/%2e%2e/v1/x",
        "/sessions/a%2Fv1%2Fb/v1/x",
        "/sessions/a%2Fv1/v1/x",
        "/sessions/v1/v1/x",
        "/sessions/a%0Ab/v1/x",
        "/sessions/a%/v1/x",
        "/sessions/%ff/v1/x",
        "/sessions/" + "a" * 401 + "/v1/x",
        "/sessions/" + "%C3%A4" * 201 + "/v1/x",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/a/.%2E",
        "/v1/..%2fadmin",
        "/v1/..%5cadmin",
        "/v1/./x",
    ],
)
def test_what_is_not_allowed_is_a_400(raw: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(raw)
    assert refused.value.status == 400


def test_an_id_of_400_bytes_is_allowed() -> None:
    target = parse("/sessions/" + "a" * 400 + "/v1/x")
    assert target is not None
    assert target.session_id == "a" * 400


def valid(session_id: str) -> bool:
    try:
        check_session_id(session_id)
    except InvalidArgumentError:
        return False
    return True


@given(st.text(min_size=1, max_size=60), st.sampled_from(["", "/"]))
def test_any_valid_id_comes_back(session_id: str, safe: str) -> None:
    assume(valid(session_id))
    target = parse(f"/sessions/{quote(session_id, safe=safe)}/v1/chat/completions")
    assert target is not None
    assert (target.session_id, target.endpoint) == (session_id, "chat/completions")


_PIECES = st.lists(
    st.sampled_from(["/", "..", ".", "%2e", "%2E", "%2f", "\\", "%5c", "a", "%25", "2e", "?", "#", "v1"]),
    max_size=12,
).map("".join)


@given(_PIECES)
def test_no_path_leaves_the_api_path(pieces: str) -> None:
    try:
        target = parse("/v1/" + pieces)
    except Refused:
        return
    assert target is not None
    path = urlsplit("".join(at_worker("http://worker:1", "/api/v1", target))).path
    assert path.startswith("/api/v1/")
    segments = unquote_to_bytes(path).replace(b"\\", b"/").split(b"/")
    assert not {b".", b".."} & set(segments)


@pytest.mark.parametrize(
    ("api_path", "asked"),
    [("", "/p/v1/x?q"), ("/v1", "/p/v1/x?q"), ("/api/", "/p/api/x?q")],
)
def test_what_the_worker_is_asked_for(api_path: str, asked: str) -> None:
    target = parse("/sessions/s/v1/x?q")
    assert target is not None
    assert at_worker("http://w/p", api_path, target) == ("http://w", asked)


@pytest.mark.parametrize("endpoint", ["tokenize", "detokenize"])
@pytest.mark.parametrize(
    ("api_path", "root"), [("", "/p"), ("/v1", "/p"), ("/openai/v1", "/p/openai"), ("/api", "/p/api")]
)
def test_what_engines_serve_beside_v1(endpoint: str, api_path: str, root: str) -> None:
    target = parse(f"/sessions/s/v1/{endpoint}")
    assert target is not None
    assert at_worker("http://w/p", api_path, target) == ("http://w", f"{root}/{endpoint}")
