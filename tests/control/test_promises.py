"""Every checker of tests/promises.py accepts what keeps its promise, and fails on what breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from rolltrace.v1.event_pb2 import EVENT_KIND_SESSION_DELETED, EVENT_KIND_TRACE, Event, SessionDeleted
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.trace_service_pb2 import (
    Cursor,
    EventBatch,
    Progress,
    SubscribeHeader,
    SubscribeResponse,
)
from rolltrace_store import Record
from tests import promises
from tests.promises import Broken, Connection


def trace(sequence: int, session_id: str = "s") -> Event:
    return Event(
        sequence=sequence, trace=Trace(sequence=sequence, session_id=session_id, trace_id=f"t{sequence}")
    )


def record(event: Event) -> Record:
    if event.HasField("trace"):
        return Record(event.sequence, EVENT_KIND_TRACE, event.trace.SerializeToString())
    return Record(event.sequence, EVENT_KIND_SESSION_DELETED, event.session_deleted.SerializeToString())


DELETED = Event(sequence=6, session_deleted=SessionDeleted(session_id="gone", deleted_trace_count=2))
TRUTH = [record(event) for event in (trace(1), trace(3), trace(4), trace(5), DELETED, trace(7))]


def kept() -> list[Connection]:
    """Two streams in good order; 2 was the trace of a session that is deleted later."""
    first = Connection("e", 0, [trace(1), trace(2, "gone"), trace(3)], [2, 3])
    second = Connection("e", 3, [trace(4), trace(5), DELETED, trace(7)], [5, 7, 7])
    return [first, second]


def test_what_is_right_passes() -> None:
    promises.check(kept(), TRUTH)
    promises.check([], TRUTH)
    promises.check_live([0.001, 0.002, 5.0], 0.005)


Break = Callable[[list[Connection]], object]


def swap(seen: list[Connection]) -> None:
    events = seen[1].events
    events[0], events[1] = events[1], events[0]


def relabel(seen: list[Connection]) -> None:
    seen[0].events[0].trace.trace_id = "x"


def recount(seen: list[Connection]) -> None:
    seen[1].events[2].session_deleted.deleted_trace_count = 9


def invent(seen: list[Connection]) -> None:
    seen[1].events.append(trace(8))
    seen[1].cursors.append(8)


def misplace(seen: list[Connection]) -> None:
    seen[0].events[1] = trace(2, "s")


def leave_a_gap(seen: list[Connection]) -> None:
    seen[0] = Connection("e", 0, [trace(1)], [1])


BREAKS: list[tuple[str, Break]] = [
    ("Ordered", swap),
    ("Ordered", lambda seen: seen[0].cursors.append(1)),
    ("Unique", lambda seen: seen[0].events.append(trace(3))),
    ("Complete", lambda seen: seen[1].events.pop(1)),
    ("Complete", lambda seen: seen[1].events.pop(2)),
    ("Complete", lambda seen: seen[1].events.append(trace(8))),
    ("Complete", invent),
    ("Complete", misplace),
    ("Complete", relabel),
    ("Complete", recount),
    ("Resumable", leave_a_gap),
    ("Resumable", lambda seen: seen.append(Connection("e", 1, [trace(3)], [3]))),
]


@pytest.mark.parametrize(("promise", "break_it"), BREAKS)
def test_what_is_wrong_is_found(promise: str, break_it: Break) -> None:
    connections = copy.deepcopy(kept())
    break_it(connections)
    with pytest.raises(Broken, match=f"^{promise}: "):
        promises.check(connections, TRUTH)


def test_a_filter_excuses_what_it_leaves_out_and_nothing_else() -> None:
    takes: promises.Takes = lambda record: record.kind == EVENT_KIND_TRACE  # noqa: E731
    connections = kept()
    with pytest.raises(Broken, match=r"^Complete: 6 came as something else"):
        promises.check(connections, TRUTH, takes)
    connections[1].events.pop(2)
    promises.check(connections, TRUTH, takes)


def test_slow_deliveries_are_found() -> None:
    with pytest.raises(Broken, match=r"^Live: "):
        promises.check_live([0.001, 0.006, 0.007], 0.005)


HEADER = SubscribeResponse(header=SubscribeHeader(epoch="e", cursor=Cursor(epoch="e", sequence=3)))
BATCH = SubscribeResponse(batch=EventBatch(events=[trace(4)], cursor=Cursor(epoch="e", sequence=5)))
PROGRESS = SubscribeResponse(progress=Progress(cursor=Cursor(epoch="e", sequence=6)))


def test_a_connection_notes_what_it_sees() -> None:
    connection = Connection()
    for response in (HEADER, BATCH, PROGRESS):
        connection.see(response)
    assert connection == Connection("e", 3, [trace(4)], [5, 6])
    assert connection.cursor == 6


@pytest.mark.parametrize("responses", [[BATCH], [PROGRESS], [HEADER, HEADER]])
def test_the_header_comes_first_and_once(responses: list[SubscribeResponse]) -> None:
    *good, bad = responses
    connection = Connection()
    for response in good:
        connection.see(response)
    with pytest.raises(Broken, match=r"^Header: "):
        connection.see(bad)
