"""The decisions of a subscription, by themselves: cursors, duplicates, when to give up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace.v1 import event_pb2
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace_client import Cursor, RolltraceError, Unavailable
from rolltrace_client.resume import Resume
from rolltrace_client.trace_calls import subscribe

LOG = list(range(2, 42, 2))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def resume(after: str | None = None, reconnect_timeout: float | None = None) -> tuple[Resume, Clock]:
    clock = Clock()
    return Resume(subscribe(after, reconnect_timeout=reconnect_timeout), 30.0, clock), clock


def header(at: int) -> bytes:
    return pb.SubscribeResponse(header=pb.SubscribeHeader(cursor=cursor(at))).SerializeToString()


def batch(sequences: list[int], at: int | None = None) -> bytes:
    events = [event_pb2.Event(sequence=sequence) for sequence in sequences]
    made = pb.EventBatch(events=events, cursor=cursor(sequences[-1] if at is None else at))
    return pb.SubscribeResponse(batch=made).SerializeToString()


def progress(at: int) -> bytes:
    return pb.SubscribeResponse(progress=pb.Progress(cursor=cursor(at))).SerializeToString()


def cursor(sequence: int) -> pb.Cursor:
    return pb.Cursor(epoch="e", sequence=sequence)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12)), max_size=12))
def test_streams_cut_anywhere_give_every_event_once(cuts: list[tuple[int, int]]) -> None:
    """Each stream sends batches of one size and is cut after so many events were handed out."""
    reader, _ = resume()
    seen: list[int] = []
    for size, handed in [*cuts, (3, len(LOG))]:
        begin = pb.SubscribeRequest.FromString(reader.request()).after.sequence
        reader.receive(header(begin))
        left = [sequence for sequence in LOG if sequence > begin]
        for _ in range(handed):
            if left and reader.next() is None:
                reader.receive(batch(left[:size]))
                left = left[size:]
            if delivery := reader.next():
                seen.append(delivery.event.sequence)
                reader.handed()
        reader.pause(Unavailable("cut", "UNAVAILABLE"))
    assert seen == LOG
    assert reader.cursor == Cursor("e", LOG[-1])


def test_an_event_seen_before_is_dropped() -> None:
    reader, _ = resume("e:6")
    reader.receive(header(6))
    reader.receive(batch([4, 6]))
    assert reader.next() is None
    reader.receive(batch([6, 8], at=11))
    delivery = reader.next()
    assert delivery is not None
    assert (delivery.event.sequence, delivery.cursor) == (8, Cursor("e", 11))
    assert reader.cursor == Cursor("e", 6)
    reader.handed()
    assert reader.cursor == Cursor("e", 11)


def test_progress_moves_forward_only() -> None:
    reader, _ = resume("e:6")
    reader.receive(progress(9))
    reader.receive(progress(8))
    assert reader.cursor == Cursor("e", 9)


def test_a_header_gives_a_bare_cursor_its_log() -> None:
    reader, _ = resume(":6")
    reader.receive(header(6))
    assert reader.cursor == Cursor("e", 6)


def test_a_message_of_a_later_contract_is_passed_over() -> None:
    reader, _ = resume("e:6")
    reader.receive(b"")
    assert reader.next() is None


def test_the_first_connection_has_the_clients_timeout() -> None:
    reader, clock = resume()
    assert 0 < reader.pause(Unavailable("down", "UNAVAILABLE")) < 1
    clock.now += 31
    with pytest.raises(Unavailable):
        reader.pause(Unavailable("down", "UNAVAILABLE"))


def test_a_lost_stream_is_sought_for_ever_unless_told() -> None:
    reader, clock = resume()
    reader.receive(header(0))
    clock.now += 1e6
    reader.pause(Unavailable("down", "UNAVAILABLE"))
    reader, clock = resume(reconnect_timeout=5.0)
    reader.receive(header(0))
    reader.pause(Unavailable("down", "UNAVAILABLE"))
    clock.now += 5
    with pytest.raises(Unavailable):
        reader.pause(Unavailable("down", "UNAVAILABLE"))


def test_a_faulty_service_is_not_asked_for_ever() -> None:
    reader, clock = resume()
    reader.receive(header(0))
    reader.pause(RolltraceError("bug", "INTERNAL"))
    clock.now += 31
    with pytest.raises(RolltraceError, match="bug"):
        reader.pause(RolltraceError("bug", "INTERNAL"))


@pytest.mark.parametrize("code", ["NOT_FOUND", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"])
def test_what_will_not_mend_is_raised(code: str) -> None:
    reader, _ = resume()
    reader.receive(header(0))
    with pytest.raises(RolltraceError):
        reader.pause(RolltraceError("no", code))
