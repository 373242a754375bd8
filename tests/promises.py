"""The promises of Subscribe, each a checker that every fault test runs.

A test notes what a receiver saw, one Connection a stream, in order. Afterwards it reads the committed
truth from the store, `list(view.events(0))`, and checks. A checker raises Broken, whose message begins
with the promise's name.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rolltrace.v1.event_pb2 import EVENT_KIND_SESSION_DELETED, EVENT_KIND_TRACE, Event, SessionDeleted
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.trace_service_pb2 import SubscribeResponse
from rolltrace_store import Record

Takes = Callable[[Record], bool]


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(slots=True)
class Connection:
    """One stream as its receiver saw it. `start` and `cursors` are the sequences of the cursors."""

    epoch: str = ""
    start: int = -1
    events: list[Event] = field(default_factory=list[Event])
    cursors: list[int] = field(default_factory=list[int])

    @property
    def cursor(self) -> int:
        """The last cursor that came."""
        return self.cursors[-1] if self.cursors else self.start

    def see(self, response: SubscribeResponse) -> None:
        """Notes a message. Raises Broken when the header is missing, or comes again."""
        kind = response.WhichOneof("response")
        if (kind == "header") != (self.start < 0):
            raise Broken(f"Header: the first message, and no other, is a header; this one is a {kind}")
        if kind == "header":
            self.epoch, self.start = response.header.epoch, response.header.cursor.sequence
        elif kind == "batch":
            self.events += response.batch.events
            self.cursors.append(response.batch.cursor.sequence)
        else:
            self.cursors.append(response.progress.cursor.sequence)


def everything(record: Record) -> bool:
    """The empty filter."""
    return True


def check(connections: Sequence[Connection], truth: Sequence[Record], takes: Takes = everything) -> None:
    """All promises but Live."""
    for connection in connections:
        check_ordered(connection)
        check_unique(connection)
        check_complete(connection, truth, takes)
    check_resumable(connections, truth, takes)


def check_ordered(connection: Connection) -> None:
    """Events come in the order of their sequences, and cursors only move forward."""
    for numbers in (_sequences(connection.events), [connection.start, *connection.cursors]):
        for before, after in itertools.pairwise(numbers):
            if after < before:
                raise Broken(f"Ordered: {after} came after {before}")


def check_unique(connection: Connection) -> None:
    """No sequence comes twice in one stream."""
    seen = set[int]()
    for sequence in _sequences(connection.events):
        if sequence in seen:
            raise Broken(f"Unique: {sequence} came twice")
        seen.add(sequence)


def check_complete(connection: Connection, truth: Sequence[Record], takes: Takes = everything) -> None:
    """Between the start and the last cursor, every committed event came, and nothing else did."""
    _check_range(connection.events, connection.start, connection.cursor, truth, takes, "Complete")


def check_resumable(
    connections: Sequence[Connection], truth: Sequence[Record], takes: Takes = everything
) -> None:
    """Streams that each start after the last cursor of the one before are as good as one."""
    for stopped, resumed in itertools.pairwise(connections):
        if resumed.start != stopped.cursor:
            raise Broken(f"Resumable: a stream began after {resumed.start}, not after {stopped.cursor}")
    events = [event for connection in connections for event in connection.events]
    for before, after in itertools.pairwise(_sequences(events)):
        if after <= before:
            raise Broken(f"Resumable: {after} came after {before}")
    if connections:
        _check_range(events, connections[0].start, connections[-1].cursor, truth, takes, "Resumable")


def check_live(delays: Sequence[float], limit: float) -> None:
    """Half of the commits were delivered within `limit` seconds."""
    median = statistics.median(delays)
    if median > limit:
        raise Broken(f"Live: the median of {len(delays)} deliveries is {1000 * median:.1f} ms")


def _check_range(
    events: Sequence[Event], start: int, end: int, truth: Sequence[Record], takes: Takes, promise: str
) -> None:
    seen = {event.sequence: event for event in events}
    kept = {record.sequence: record for record in truth}
    for sequence in seen:
        if not start < sequence <= end:
            raise Broken(f"{promise}: {sequence} came, which is not between the cursors {start} and {end}")
    for record in truth:
        if start < record.sequence <= end and takes(record) and record.sequence not in seen:
            raise Broken(f"{promise}: {record.sequence} was committed and did not come")
    deleted = _deletions(truth)
    for sequence, event in seen.items():
        committed = kept.get(sequence)
        if committed is None and deleted.get(event.trace.session_id, 0) < sequence:
            raise Broken(f"{promise}: {sequence} came and was never committed")
        if committed is not None and not (takes(committed) and _same(committed, event)):
            raise Broken(f"{promise}: {sequence} came as something else than was committed")


def _sequences(events: Iterable[Event]) -> list[int]:
    return [event.sequence for event in events]


def _deletions(truth: Iterable[Record]) -> dict[str, int]:
    """When each session was last deleted."""
    return {
        SessionDeleted.FromString(record.body).session_id: record.sequence
        for record in truth
        if record.kind == EVENT_KIND_SESSION_DELETED
    }


def _same(record: Record, event: Event) -> bool:
    if record.kind == EVENT_KIND_TRACE:
        trace = Trace.FromString(record.body)
        return (trace.trace_id, trace.sequence) == (event.trace.trace_id, event.trace.sequence)
    kind = event.WhichOneof("event")
    body: bytes = getattr(event, kind).SerializeToString() if kind else b""
    return record.body == body
