"""Decisions that need no service: page tokens, paces, addresses, wire format."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_control import addresses, paging, wire
from rolltrace_control.pace import IDLE_DELAY, MOVED_DELAY, Pace
from rolltrace_settings.settings import Settings
from rolltrace_store import InvalidArgumentError, Record

modest = settings(max_examples=50)


@modest
@given(st.text(min_size=1), st.binary())
def test_a_token_gives_its_place_back(place: str, scope: bytes) -> None:
    token = paging.next_token("List", scope, place)
    assert paging.place_of("List", scope, token) == place
    flipped = bytes(byte ^ 1 for byte in scope)
    for rpc, other in (("Other", scope), ("List", scope + b"x"), ("List", flipped or b"x")):
        with pytest.raises(InvalidArgumentError):
            paging.place_of(rpc, other, token)


@modest
@given(st.text(alphabet=string.printable + "ü", min_size=1))
def test_what_is_no_token_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        paging.place_of("List", b"", garbage)
    assert raised.value.field == "page_token"


@modest
@given(st.data())
def test_a_token_that_was_changed_is_refused(data: st.DataObject) -> None:
    token = paging.next_token("List", b"", "place")
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(sorted({*string.ascii_letters, "-", "_", "="} - {token[at]})))
    changed = token[:at] + other + token[at + 1 :]
    with pytest.raises(InvalidArgumentError):
        paging.place_of("List", b"", changed)


def test_a_page_has_a_size() -> None:
    assert [paging.page_size(asked) for asked in (0, 1, 1000, 1001)] == [100, 1, 1000, 1000]


@modest
@given(st.integers(1, (1 << 64) - 1))
def test_a_varint_is_as_protobuf_writes_it(number: int) -> None:
    assert b"\x08" + wire.varint(number) == event.Event(sequence=number).SerializeToString()


@modest
@given(st.lists(st.binary(max_size=300), min_size=1), st.integers(1, 1 << 63))
def test_batches_read_as_they_were_put_together(bodies: list[bytes], first: int) -> None:
    parts: list[bytes] = []
    traces: list[Trace] = []
    for sequence, body in enumerate(bodies, first):
        traces.append(Trace(sequence=sequence, request_json=body))
        record = Record(sequence, event.EVENT_KIND_TRACE, b"")
        parts += wire.event_of(record, traces[-1].SerializeToString())
    cursor = pb.Cursor(epoch="e", sequence=first)
    response = pb.SubscribeResponse.FromString(wire.batch_response(parts, cursor))
    expected = [event.Event(sequence=trace.sequence, trace=trace) for trace in traces]
    assert response == pb.SubscribeResponse(batch=pb.EventBatch(events=expected, cursor=cursor))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (event.EVENT_KIND_SESSION_DELETED, event.SessionDeleted(session_id="s")),
        (event.EVENT_KIND_WORKER_CHANGED, event.WorkerChanged(removed=True)),
        (event.EVENT_KIND_SESSION_SEALED, event.SessionSealed()),
        (event.EVENT_KIND_POLICY_CHANGED, event.PolicyChanged(policy_version="v")),
    ],
)
def test_every_kind_has_its_place(
    kind: event.EventKind.ValueType,
    message: event.SessionDeleted | event.WorkerChanged | event.SessionSealed | event.PolicyChanged,
) -> None:
    record = Record(1, kind, message.SerializeToString())
    batch = pb.EventBatch.FromString(b"".join(wire.event_of(record, record.body)))
    name = event.EventKind.Name(kind).removeprefix("EVENT_KIND_").lower()
    assert batch.events[0].WhichOneof("event") == name
    assert getattr(batch.events[0], name) == message


def test_a_stream_owes_progress_soon_after_a_move_and_now_and_then() -> None:
    pace = Pace(100.0)
    assert pace.due == 100.0 + IDLE_DELAY
    pace.moved(101.0)
    pace.moved(101.3)
    assert pace.due == 101.0 + MOVED_DELAY
    pace.sent(102.0)
    assert pace.due == 102.0 + IDLE_DELAY
    pace.moved(102.0 + IDLE_DELAY)
    assert pace.due == 102.0 + IDLE_DELAY
    assert MOVED_DELAY < 1
    assert IDLE_DELAY < 15


@pytest.mark.parametrize(
    ("settings_", "url"),
    [
        (Settings(), "http://127.0.0.1:9090"),
        (Settings(host="0.0.0.0", port=1), "http://127.0.0.1:1"),
        (Settings(host="::", port=1), "http://[::1]:1"),
        (Settings(host="gateway", port=1), "http://gateway:1"),
        (Settings(public_url="https://x.example/gw/"), "https://x.example/gw"),
    ],
)
def test_agents_reach_the_proxy_here(settings_: Settings, url: str) -> None:
    assert addresses.proxy_url(settings_) == url


def test_a_base_url_holds_the_id_as_a_path() -> None:
    url = addresses.base_url("http://p", "harbor/hello world:0/ü?#%")
    assert url == "http://p/sessions/harbor/hello%20world:0/%C3%BC%3F%23%25/v1"
