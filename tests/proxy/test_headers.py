from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolltrace_proxy import headers

HOP_BY_HOP = [
    ("Connection", "keep-alive, X-Private"),
    ("X-Private", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authorization", "Basic x"),
    ("TE", "trailers"),
    ("Trailer", "X-Sum"),
    ("Transfer-Encoding", "chunked"),
    ("Upgrade", "h2c"),
]


def test_hop_by_hop_fields_stop_here() -> None:
    kept = headers.to_worker([*HOP_BY_HOP, ("Host", "gateway"), ("X-Own", "2")], "")
    assert kept == [("X-Own", "2"), ("Accept-Encoding", "identity")]
    assert headers.to_agent([*HOP_BY_HOP, ("X-Own", "2")], same_length=True) == [("X-Own", "2")]


def test_fields_that_repeat_are_all_kept_in_order() -> None:
    fields = [("Set-Cookie", "a=1"), ("X-Other", "x"), ("set-cookie", "b=2")]
    assert headers.to_agent(fields, same_length=True) == fields


def test_the_length_of_a_changed_body_is_made_anew() -> None:
    fields = [("Content-Length", "5")]
    assert not headers.to_agent(fields, same_length=False)
    assert headers.to_agent(fields, same_length=True) == fields


def test_the_workers_key_replaces_the_agents() -> None:
    agent = [("Authorization", "Bearer agent")]
    assert agent[0] in headers.to_worker(agent, "")
    assert agent[0] not in headers.to_worker(agent, "key")
    assert ("Authorization", "Bearer key") in headers.to_worker(agent, "key")


def test_the_worker_is_asked_not_to_compress() -> None:
    sent = headers.to_worker([("Accept-Encoding", "gzip"), ("accept-encoding", "br")], "")
    assert sent == [("Accept-Encoding", "identity")]
    assert headers.compressed([("content-encoding", "gzip")])
    assert not headers.compressed([("content-encoding", "identity")])


def test_ids_in_a_header_are_printable() -> None:
    made = dict(headers.ids("t", "harbor/hällo world:0"))
    assert made["x-rolltrace-session-id"] == "harbor/h%C3%A4llo%20world:0"


_NAMES = st.sampled_from(["A", "a", "B", "Connection", "connection", "TE", "Date", "Upgrade"])
_VALUES = st.sampled_from(["", "a", "B, te", "date", "close"])


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8))
def test_exactly_what_nobody_named_goes_on(fields: list[tuple[str, str]]) -> None:
    named = {t.strip().lower() for n, v in fields if n.lower() == "connection" for t in v.split(",")}
    stops = named | {"connection", "te", "upgrade"}
    kept = [(n, v) for n, v in fields if n.lower() not in stops]
    assert headers.to_agent(fields, same_length=True) == kept
