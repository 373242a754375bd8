"""Sessions and workers between JSON and messages."""

from __future__ import annotations

import pytest

from rolltrace.v1.event_pb2 import Event, SessionSealed
from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, Session
from rolltrace.v1.trace_service_pb2 import EventBatch, SubscribeResponse
from rolltrace_proxy.raw_json import Value
from rolltrace_proxy.rest import forms
from rolltrace_proxy.rest.errors import RestError


@pytest.mark.parametrize("body", [b"", b"  ", b"{}"])
def test_a_body_may_be_empty(body: bytes) -> None:
    assert forms.members(body) == {}


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b'{"a": NaN}', b"\xff"])
def test_a_body_that_is_no_object_is_an_error(body: bytes) -> None:
    with pytest.raises(RestError, match="JSON object") as raised:
        forms.members(body)
    assert raised.value.status == 400


def test_what_is_given_of_a_session_is_replaced() -> None:
    update = forms.update_of({"session_id": "s", "metadata": {"a": 1}, "sampling_params": None, "x": 1})
    assert (update.session.session_id, update.allow_missing) == ("s", True)
    assert dict(update.session.metadata) == {"a": 1}
    assert list(update.update_mask.paths) == ["metadata"]
    assert list(forms.update_of({"metadata": {}}).update_mask.paths) == []


def test_metadata_comes_back_as_it_was_given() -> None:
    given: dict[str, Value] = {
        "whole": 2**53,
        "part": 0.1,
        "text": "ü",
        "none": None,
        "yes": True,
        "list": [1, [], {"deep": [None, {"x": -1}]}],
        "empty": {},
    }
    kept = forms.plain(forms.struct(given, "metadata"))
    assert kept == given
    assert (type(kept["whole"]), type(kept["yes"])) == (int, bool)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"session_id": 1}, "session_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"deep": [2**53 + 1]}}, "metadata"),
        ({"sampling_params": 1}, "sampling_params"),
    ],
)
def test_what_makes_no_sense_of_a_session_is_an_error(fields: forms.Members, named: str) -> None:
    with pytest.raises(RestError, match=named) as raised:
        forms.update_of(fields)
    assert raised.value.status == 400


def nested(levels: int) -> Value:
    return {} if levels == 1 else {"a": nested(levels - 1)}


def test_metadata_is_as_deep_as_can_be_read_again() -> None:
    deepest = Session(session_id="s")
    deepest.metadata.CopyFrom(forms.struct(nested(30), "metadata"))
    event = SessionSealed(session=deepest)
    sent = SubscribeResponse(batch=EventBatch(events=[Event(session_sealed=event)]))
    assert SubscribeResponse.FromString(sent.SerializeToString()) == sent
    with pytest.raises(RestError, match="metadata nests deeper"):
        forms.struct(nested(31), "metadata")


def test_the_answer_names_the_key_only_when_it_is_needed() -> None:
    base = "https://gateway.example/prefix/sessions/a/b%20c/v1"
    session = Session(session_id="a/b c", base_url=base, api_key="k", state=SESSION_STATE_OPEN)
    told = forms.created(session, with_key=False)
    assert told == {"session_id": "a/b c", "url": "/sessions/a/b%20c/v1", "base_url": base}
    assert forms.created(session, with_key=True) == {**told, "api_key": "k"}


@pytest.mark.parametrize(
    ("given", "url", "api_path"),
    [
        ({"url": "http://h:1"}, "http://h:1", ""),
        ({"url": "http://h:1/"}, "http://h:1", ""),
        ({"url": "http://h:1/v1"}, "http://h:1", "/v1"),
        ({"url": "http://h:1/openai/v2/"}, "http://h:1", "/openai/v2"),
        ({"url": "http://h:1/v1", "api_path": "/v1"}, "http://h:1/v1", "/v1"),
        ({"url": "http://[::1", "api_path": ""}, "http://[::1", ""),
    ],
)
def test_a_workers_url_is_taken_apart(given: forms.Members, url: str, api_path: str) -> None:
    worker = forms.worker_of(given)
    assert (worker.url, worker.api_path, worker.weight) == (url, api_path, 1)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "url is required"),
        ({"url": ""}, "url is required"),
        ({"url": 1}, "url"),
        ({"url": "http://h", "weight": "2"}, "weight"),
        ({"url": "http://h", "weight": True}, "weight"),
        ({"url": "http://h", "worker_id": 1}, "worker_id"),
        ({"url": "http://h", "model_name": []}, "model_name"),
    ],
)
def test_what_makes_no_sense_of_a_worker_is_an_error(fields: forms.Members, named: str) -> None:
    with pytest.raises(RestError, match=named):
        forms.worker_of(fields)


@pytest.mark.parametrize(("given", "version"), [(3, "3"), ("3", "3"), (" 007 ", "7"), (3.0, "3"), (0, "0")])
def test_a_version_is_a_whole_number(given: Value, version: str) -> None:
    assert forms.version_of({"weight_version": given}) == version


@pytest.mark.parametrize("given", [None, "x", 1.5, True, [], {}, -1])
def test_a_version_that_is_none_is_an_error(given: Value) -> None:
    with pytest.raises(RestError, match="weight_version"):
        forms.version_of({"weight_version": given})


@pytest.mark.parametrize("given", ["s", 1, {}, ["a", 1], [None]])
def test_names_are_a_list_of_strings(given: Value) -> None:
    with pytest.raises(RestError, match="session_ids"):
        forms.names({"session_ids": given}, "session_ids")


@pytest.mark.parametrize("given", ["1", 1.5, -1, True, [], 1e400])
def test_a_count_is_a_whole_number(given: Value) -> None:
    with pytest.raises(RestError, match="limit"):
        forms.count({"limit": given}, "limit")
