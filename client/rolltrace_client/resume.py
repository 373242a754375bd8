"""A subscription that survives its streams: where it stands, what is new, when to give up. Pure.

Rules:
- The cursor moves past an event only when the event is handed out, so a stream may break anywhere.
- The next stream starts after the cursor. Before the first header there is none, and nothing was seen.
- An event at or before the cursor was handed out already; it is dropped.
- A stream that ends is a stream lost, however politely it ended: the log has no end.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from rolltrace.v1 import event_pb2, trace_service_pb2

from .cursor import Cursor
from .errors import NO_DETAILS, RolltraceError, from_status
from .retry import Backoff, Clock
from .trace_calls import Subscribe

# The stream broke, or the service went away: another stream goes on where this one stood.
_LOST = {"UNAVAILABLE", "CANCELLED", "ABORTED"}
# A fault on the way or in the service: worth another try, but not for ever.
_FAULTS = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event, and the cursor once it is handed out."""

    event: event_pb2.Event
    cursor: Cursor


class Resume:
    """One subscription over all its streams."""

    def __init__(self, asked: Subscribe, timeout: float, clock: Clock = time.monotonic) -> None:
        self._request = asked.request
        self._reconnect_timeout = asked.reconnect_timeout
        self._timeout = timeout
        self._clock = clock
        self._backoff = Backoff()
        self._pending: deque[Delivery] = deque()
        self._connected = False
        self._alive_at = clock()
        self.cursor: Cursor | None = _cursor(self._request.after) if self._request.HasField("after") else None

    def request(self) -> bytes:
        """What to send to open the next stream."""
        if self.cursor is not None:
            self._request.after.epoch = self.cursor.epoch
            self._request.after.sequence = self.cursor.sequence
        return self._request.SerializeToString()

    def receive(self, data: bytes) -> None:
        """Takes a message of the stream."""
        message = trace_service_pb2.SubscribeResponse.FromString(data)
        self._connected, self._alive_at = True, self._clock()
        self._backoff.reset()
        match message.WhichOneof("response"):
            case "header":
                self._move(message.header.cursor)
            case "progress":
                self._move(message.progress.cursor)
            case "batch":
                self._pending.extend(self._deliveries(message.batch))
            case _:
                pass  # a kind of message that this client is too old to know

    def next(self) -> Delivery | None:
        """The event to hand out next; None when another message is needed first."""
        return self._pending[0] if self._pending else None

    def handed(self) -> None:
        """The caller gets that event now."""
        self.cursor = self._pending.popleft().cursor

    def pause(self, error: RolltraceError) -> float:
        """The stream is lost: seconds to wait before the next. Raises `error` when there is to be none.

        What was not handed out is forgotten, since the next stream brings it again.
        The first connection, and faults of the service, have the client's timeout.
        """
        self._pending.clear()
        patience = self._reconnect_timeout if self._connected and error.code in _LOST else self._timeout
        pause = max(self._backoff.pause(), error.details.retry_delay or 0.0)
        over = patience is not None and self._clock() + pause > self._alive_at + patience
        if over or error.code not in _LOST | _FAULTS:
            raise error
        return pause

    def _move(self, to: trace_service_pb2.Cursor) -> None:
        if self.cursor is None or to.sequence >= self.cursor.sequence:
            self.cursor = _cursor(to)

    def _deliveries(self, batch: trace_service_pb2.EventBatch) -> list[Delivery]:
        seen = self.cursor.sequence if self.cursor else 0
        epoch = batch.cursor.epoch
        fresh = [Delivery(e, Cursor(epoch, e.sequence)) for e in batch.events if e.sequence > seen]
        if fresh and batch.cursor.sequence > fresh[-1].cursor.sequence:
            fresh[-1] = Delivery(fresh[-1].event, _cursor(batch.cursor))
        return fresh


def stream_ended(target: str) -> RolltraceError:
    """The error for a stream that the service closed without one."""
    return from_status("UNAVAILABLE", "the stream ended", NO_DETAILS, target)


def _cursor(message: trace_service_pb2.Cursor) -> Cursor:
    return Cursor(message.epoch, message.sequence)
